"""What libsndfile does not read, decoded by ffmpeg where the machine has it."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

from atbert_jax.input_pipeline.audio.errors import AudioError, mend

PROGRAM = "ffmpeg"
# Of decoded sound; that is an hour and a half in stereo at 44.1 kHz.
MOST_BYTES = 2**30
MOST_SECONDS = 600
# Files whose sound is kept, since long ones are read part by part.
RECENT = 4
# Why a file that only it reads is left out.
NEEDED = f"takes {PROGRAM} to read, which is not here: install it, or convert the file"


def is_there() -> bool:
    """Whether there is an ffmpeg."""
    return shutil.which(PROGRAM) is not None


def decode(path: Path, name: str, demuxer: str) -> bytes:
    """The sound of a file as a WAV file of 16 bits.

    Args:
        path: The file.
        name: Of its format, for people.
        demuxer: Of its format, for ffmpeg, which guesses nothing: it must not follow a playlist.

    Raises:
        AudioError: if there is no ffmpeg, it cannot decode the file, or that is too long.
    """
    status = path.stat()
    return _decode(path, name, demuxer, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=RECENT)
def _decode(path: Path, name: str, demuxer: str, size: int, changed: int) -> bytes:
    program = shutil.which(PROGRAM)
    if program is None:
        raise AudioError(
            f"{path}: is {name}, which takes ffmpeg to read, and there is none here; install it, or"
            f" {mend(path)}"
        )
    command = [program, "-nostdin", "-loglevel", "error", "-protocol_whitelist", "file,pipe"]
    command += ["-f", demuxer, "-i", f"file:{os.fspath(path)}", "-map", "0:a:0", "-c:a"]
    command += ["pcm_s16le", "-fs", str(MOST_BYTES), "-f", "wav", "pipe:1"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=MOST_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise AudioError(
            f"{path}: is {name}, and took ffmpeg more than {MOST_SECONDS} s; {mend(path)}"
        ) from None
    words = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode or not done.stdout:
        reason = words[-1] if words else f"exit code {done.returncode}"
        raise AudioError(f"{path}: is {name}, and ffmpeg cannot decode it ({reason})")
    if len(done.stdout) >= MOST_BYTES - 2**20:
        raise AudioError(f"{path}: is {name} of more than an hour; {mend(path)}")
    return done.stdout
