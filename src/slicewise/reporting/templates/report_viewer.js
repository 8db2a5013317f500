"use strict";
// The viewer: scrolls through all slices of a series, in the windows of the task.
(() => {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const WHEEL_PX = 40, ANNOUNCE_MS = 350, PAGE_SLICES = 5, PROFILE_MARGIN = 14;
  const KEYS = {
    ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1,
    PageUp: PAGE_SLICES, PageDown: -PAGE_SLICES, Home: -Infinity, End: Infinity,
  };

  // A picture holds the mean of all windows; the table of a window gives what it shows of every grey level.
  const paint = (canvas, picture, table) => {
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    const image = context.getImageData(0, 0, canvas.width, canvas.height), pixels = image.data;
    for (let at = 0; at < pixels.length; at += 4) {
      pixels[at] = pixels[at + 1] = pixels[at + 2] = table[pixels[at]];
    }
    context.putImageData(image, 0, 0);
  };

  const start = (viewer) => {
    const slices = data.series[viewer.dataset.series], pictures = new Map();
    const find = (selector) => viewer.querySelector(selector);
    const stage = find(".stage"), canvas = find("canvas"), problem = find(".stage .problem");
    const slider = find("input"), rows = [...viewer.querySelectorAll("tbody tr")];
    const windows = [...viewer.querySelectorAll("[data-window]")];
    const labels = rows.map((row) => row.querySelector("th").textContent.trim());
    // A series that is unlike the training data has no profile.
    const profile = viewer.closest("section").querySelector("svg.profile");
    const across = profile?.dataset.places.split(" ").map(Number);
    const flagged = slices.flatMap((slice, place) => (slice.flagged.includes(true) ? [place] : []));
    let place = Number(viewer.dataset.start), chosen = 0, announcement = 0;

    const pictureOf = (at) => {
      if (!pictures.has(at) && slices[at]?.jpeg) {
        const picture = new Image();
        picture.src = "data:" + data.mediaType + ";base64," + slices[at].jpeg;
        pictures.set(at, picture);
      }
      return pictures.get(at);
    };
    const draw = () => {
      const wanted = place, picture = pictureOf(place);
      canvas.hidden = !picture;
      problem.hidden = Boolean(picture);
      problem.textContent = picture ? "" : "No picture of this slice. " + slices[place].problem;
      if (!picture) return;
      const finish = () => { if (wanted === place) paint(canvas, picture, data.windows[chosen].table); };
      if (picture.complete) finish(); else picture.addEventListener("load", finish, { once: true });
      pictureOf(place - 1);
      pictureOf(place + 1);
    };

    const spoken = (slice) => {
      const where = slice.position ? slice.name + " at " + slice.position : slice.name;
      const values = labels.map((label, at) => label + " " + slice.probabilities[at] + (slice.flagged[at] ? ", flagged" : ""));
      return { where, all: where + ". " + values.join("; ") + "." };
    };
    const show = (at) => {
      place = Math.min(Math.max(at, 0), slices.length - 1);
      const slice = slices[place], isFlagged = slice.flagged.includes(true), { where, all } = spoken(slice);
      const count = slice.flagged.filter(Boolean).length;
      slider.value = String(place);
      slider.setAttribute("aria-valuetext", where + (isFlagged ? ", flagged" : ""));
      stage.classList.toggle("over", isFlagged);
      canvas.setAttribute("aria-label", where + ", " + data.windows[chosen].caption);
      find(".slice-name").textContent = slice.name;
      find(".slice-position").textContent = slice.position && "at " + slice.position;
      find(".slice-origin").textContent = slice.origin;
      find(".slice-verdict").textContent = isFlagged ? "▲ flagged by " + count + " of " + labels.length + " labels" : profile ? "not flagged" : "not judged";
      find(".slice-verdict").classList.toggle("flagged", isFlagged);
      rows.forEach((row, index) => {
        const value = row.querySelector(".value"), bar = row.querySelector(".bar");
        value.textContent = (slice.flagged[index] ? "▲ " : "") + slice.probabilities[index];
        value.classList.toggle("flagged", slice.flagged[index]);
        bar.classList.toggle("over", slice.flagged[index]);
        bar.firstElementChild.style.width = slice.percents[index] + "%";
      });
      for (const end of ["x1", "x2"]) profile?.querySelector(".cursor").setAttribute(end, String(across[place]));
      draw();
      // While someone scrolls nothing is read out, only where they stop.
      clearTimeout(announcement);
      announcement = setTimeout(() => { find(".announcement").textContent = all; }, ANNOUNCE_MS);
    };
    const choose = (number) => {
      chosen = number;
      windows.forEach((button, index) => button.setAttribute("aria-pressed", String(index === number)));
      find(".window-caption").textContent = data.windows[number].caption;
      show(place);
    };
    const jump = (direction) => {
      const ahead = direction > 0 ? flagged.find((at) => at > place) : flagged.findLast((at) => at < place);
      show(ahead ?? flagged.at(direction > 0 ? 0 : -1));
    };

    const onKey = (event) => {
      if (!(event.key in KEYS) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      show(place + KEYS[event.key]);
    };
    for (const element of [stage, slider]) element.addEventListener("keydown", onKey);
    slider.addEventListener("input", () => show(Number(slider.value)));
    windows.forEach((button, index) => button.addEventListener("click", () => choose(index)));
    for (const button of viewer.querySelectorAll("[data-jump]")) {
      button.addEventListener("click", () => jump(Number(button.dataset.jump)));
    }

    let turned = 0;
    stage.addEventListener("wheel", (event) => {
      if (event.ctrlKey) return;  // the browser zooms the page
      event.preventDefault();
      turned += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : Math.sign(event.deltaY) * WHEEL_PX;
      if (Math.abs(turned) < WHEEL_PX) return;
      show(place - Math.sign(turned));  // up is towards the head, as with the keys
      turned = 0;
    }, { passive: false });

    // A mouse may drag in any direction; a finger that moves up or down scrolls the page.
    let drag = null;
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      drag = { from: place, x: event.clientX, y: event.clientY };
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const step = Math.max(stage.clientWidth / slices.length, 4);
      const moved = event.clientX - drag.x - (event.clientY - drag.y);
      const at = drag.from + Math.trunc(moved / step);
      if (at !== place) show(at);
    });
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => { drag = null; });

    profile?.addEventListener("click", (event) => {
      const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(profile.getScreenCTM().inverse()).x;
      if (x < across[0] - PROFILE_MARGIN || x > across.at(-1) + PROFILE_MARGIN) return;
      const distances = across.map((other) => Math.abs(other - x));
      show(distances.indexOf(Math.min(...distances)));
    });

    profile?.classList.add("linked");
    viewer.hidden = false;
    choose(0);
  };

  document.querySelectorAll(".viewer").forEach(start);
})();
