/** The few words of DOM this page needs. */

/** The element with this id; the page is broken without it. */
export function byId<Type extends HTMLElement>(id: string, type: new () => Type): Type {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`the page has no ${type.name} with id ${id}`);
  return element;
}

/** A new element with a class and children; strings become text, never markup. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className: string,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  element.append(...children);
  return element;
}

/** A button with an accessible name that may say more than its face. */
export function button(face: string, label: string, className: string, act: () => void): HTMLButtonElement {
  const element = make("button", className, face);
  element.type = "button";
  if (label !== face) element.setAttribute("aria-label", label);
  element.addEventListener("click", act);
  return element;
}

/** Set text only if it differs, so that live regions do not repeat themselves. */
export function say(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Read and write a setting of this browser; private windows may refuse, which only forgets it. */
export const setting = {
  read(name: string): string | null {
    try {
      return localStorage.getItem(`trio-sfu.${name}`);
    } catch {
      return null;
    }
  },
  write(name: string, value: string): void {
    try {
      localStorage.setItem(`trio-sfu.${name}`, value);
    } catch {
      // not kept
    }
  },
};
