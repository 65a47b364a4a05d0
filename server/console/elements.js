// Elements without markup: whatever a document or the API says can only become text.

/** An element; `on…` are listeners, `true` is a bare attribute, strings among the children are text. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(key, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Tell who cannot see the page what has changed on it. */
export function tell(text) {
  document.getElementById("news").textContent = text;
}

/** What went wrong, with a way on where there is one. */
export function notice(text, action = null, label = "Try again") {
  const button = action && h("button", { type: "button", onclick: action }, label);
  return h("div", { class: "notice", role: "alert" }, h("p", {}, text), button);
}

/** What is shown while nothing has come yet. */
export function loading() {
  return h("p", { class: "loading" }, "Loading…");
}

/** Whether the person says yes; no is what the keyboard is on. */
export function confirmed(question, consequence, yes) {
  const dialog = h("dialog", { "aria-labelledby": "question" },
    h("form", { method: "dialog" },
      h("h2", { id: "question" }, question),
      h("p", {}, consequence),
      h("div", { class: "actions" },
        h("button", { value: "no", autofocus: true }, "Keep it"),
        h("button", { value: "yes", class: "danger" }, yes))));
  document.getElementById("page").append(dialog); // it goes with the page
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
