// One slide at a time, by keys, buttons or a click; the address names the slide, so that a reload stays on it.
(() => {
  const root = document.documentElement;
  const slides = [...document.querySelectorAll(".slide")];
  const controls = document.querySelector(".controls");
  const where = controls.querySelector(".where");
  const contents = controls.querySelector(".contents");
  const notesButton = controls.querySelector('[data-go="notes"]');
  let now = 0;

  const named = () => slides.findIndex((slide) => slide.id === decodeURIComponent(location.hash.slice(1)));

  function show(number, remember = true) {
    now = Math.max(0, Math.min(slides.length - 1, number));
    slides.forEach((slide, position) => { slide.hidden = position !== now; });
    const title = slides[now].querySelector("h1, h2").textContent;
    where.innerHTML = `${now + 1} / ${slides.length}<span class="quiet"></span>`;
    where.querySelector(".quiet").textContent = `: ${title}`;
    document.title = `${now + 1}. ${title}`;
    controls.querySelector('[data-go="previous"]').disabled = now === 0;
    controls.querySelector('[data-go="next"]').disabled = now === slides.length - 1;
    if (remember) history.replaceState(null, "", `#${slides[now].id}`);
    window.scrollTo(0, 0);
  }

  const actions = {
    next: () => show(now + 1),
    previous: () => show(now - 1),
    first: () => show(0),
    last: () => show(slides.length - 1),
    notes: () => notesButton.setAttribute("aria-pressed", String(root.classList.toggle("with-notes"))),
    theme: () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
    },
    print: () => window.print(),
  };
  const keys = {
    ArrowRight: "next", PageDown: "next", " ": "next", ArrowLeft: "previous", PageUp: "previous", Home: "first",
    End: "last", // no letters: they would answer to speech input
  };

  document.addEventListener("keydown", (event) => {
    const action = keys[event.key];
    const control = event.target.closest("button, a, summary");
    if (!action || event.ctrlKey || event.altKey || event.metaKey || (event.key === " " && control)) return;
    event.preventDefault();
    actions[action]();
  });
  controls.addEventListener("click", (event) => {
    const button = event.target.closest("[data-go]");
    if (button) actions[button.dataset.go]();
    if (event.target.closest("a")) contents.open = false;
  });
  document.querySelector("main").addEventListener("click", (event) => {
    if (event.target.closest("a, .notes") || String(getSelection())) return;
    actions[event.clientX < innerWidth / 4 ? "previous" : "next"]();
  });
  addEventListener("hashchange", () => { if (named() >= 0) show(named(), false); });

  root.classList.add("running");
  controls.hidden = false;
  show(Math.max(0, named()), named() >= 0);
})();
