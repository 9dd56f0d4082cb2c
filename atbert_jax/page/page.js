// Moves the line of a taggram with its player, lets keys label, and refuses what is too large before
// it is sent. Nothing is fetched.
(() => {
  const largest = LARGEST;
  const refuse = (event, files) => {
    const upload = event.target.closest?.(".upload");
    if (!upload) return;
    upload.querySelector(".note")?.remove();
    if (![...(files ?? [])].some((file) => file.size > largest)) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = `too large; up to ${largest / 2 ** 20} MB are taken`;
    upload.append(note);
  };
  document.addEventListener("change", (event) => refuse(event, event.target.files), true);
  document.addEventListener("drop", (event) => refuse(event, event.dataTransfer?.files), true);
  const follow = (audio) => {
    const taggram = audio.closest(".taggram");
    const line = taggram?.querySelector(".place");
    if (!line) return;
    const x = (1000 * audio.currentTime) / Number(taggram.dataset.seconds);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    if (!audio.paused && !audio.ended) requestAnimationFrame(() => follow(audio));
  };
  for (const name of ["play", "seeked", "timeupdate"]) {
    document.addEventListener(name, (event) => follow(event.target), true);
  }
  document.addEventListener("click", (event) => {
    const picture = event.target.closest?.(".taggram svg");
    if (!picture) return;
    const { left, width } = picture.getBoundingClientRect();
    const taggram = picture.closest(".taggram");
    const audio = taggram.querySelector("audio");
    audio.currentTime = ((event.clientX - left) / width) * Number(taggram.dataset.seconds);
    audio.play();
  });
  const buttons = { y: "label-yes", n: "label-no", s: "label-skip", u: "label-undo" };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    const button = document.getElementById(buttons[event.key.toLowerCase()]);
    if (button?.offsetParent) button.click();
    if (event.key.toLowerCase() === "r") document.querySelector(".offer audio")?.play();
  });
})();
