// Names for the theme's buttons that have only an icon, and keyboard access to boxes that scroll.
document.addEventListener("DOMContentLoaded", () => {
  const named = (element) => element.textContent.trim() || element.getAttribute("aria-label");
  document.querySelectorAll("button, label[role=button], a.btn, summary, input:not([type=hidden])").forEach((element) => {
    if (!named(element)) {
      const title = element.title || element.dataset.bsOriginalTitle || element.dataset.tooltip || element.placeholder;
      element.setAttribute("aria-label", title || "Open or close");
    }
  });
  // A list of citations whose items say so: their own role is not one that a list may hold.
  document.querySelectorAll('.citation-list[role="list"] > .citation').forEach((item) => item.setAttribute("role", "listitem"));
  document.querySelectorAll(".cell_output .output, .pst-scrollable-table-container, pre").forEach((box) => {
    if (box.scrollWidth > box.clientWidth && !box.hasAttribute("tabindex")) box.setAttribute("tabindex", "0");
  });
});
