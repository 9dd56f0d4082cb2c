# The package with all that training takes.
#
# For CPUs:         docker build -t atbert .
# For NVIDIA GPUs:  docker build -t atbert:cuda --build-arg DEVICE=cuda .
FROM python:3.11-slim-bookworm
# cpu, or cuda: JAX brings CUDA's libraries itself, the host its driver.
ARG DEVICE=cpu

# ffmpeg reads what libsndfile does not, as M4A.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/atbert
# Before the code, so that a change of it installs nothing anew.
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement requirements.txt \
    && case "$DEVICE" in \
        cpu) ;; \
        cuda) pip install --no-cache-dir "jax[cuda13]==$(python -c 'import jax; print(jax.__version__)')" ;; \
        *) echo "DEVICE=$DEVICE is none of cpu, cuda" >&2; exit 1 ;; \
    esac
COPY pyproject.toml README.md LICENSE ./
COPY atbert_jax atbert_jax
COPY configs configs
COPY input_pipeline input_pipeline
RUN pip install --no-cache-dir --no-deps .

# Caches where anybody may write; and the driver's compute part, for `--gpus`.
ENV HOME=/tmp \
    JAX_COMPILATION_CACHE_DIR=/tmp/jax \
    HF_HOME=/tmp/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Not as root: what it reads may come from strangers. `--user` of `docker run` writes as somebody else.
RUN useradd --create-home atbert
USER atbert
WORKDIR /data
ENTRYPOINT ["atbert"]
CMD ["--help"]
