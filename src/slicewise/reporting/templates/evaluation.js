"use strict";
// The threshold explorer: what a threshold gives, from counts at some hundred thresholds, at a chosen prevalence.
(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const form = document.getElementById("explorer-form");
  const at = (name) => document.getElementById("explorer-" + name);
  const label = at("label"), level = at("level"), slider = at("slider");
  const prevalence = at("prevalence"), studies = at("studies");

  const add = (select, value, text) => {
    const option = document.createElement("option");
    option.value = value;
    option.textContent = text;
    select.append(option);
  };
  const share = (value) => (Number.isFinite(value) ? value.toFixed(3) : "not defined");
  const rate = (value) => (value >= 10 ? value.toFixed(0) : value.toFixed(1));
  const bounded = (input, low, high) => {
    const value = input.value === "" ? NaN : Number(input.value);
    const valid = value >= low && value <= high;
    input.setAttribute("aria-invalid", String(!valid));
    return valid ? value : NaN;
  };

  const fillLevels = () => {
    const wanted = level.value;
    level.replaceChildren();
    const known = data.labels[label.value].levels;
    for (const name of Object.keys(known)) add(level, name, data.levels[name]);
    if (wanted in known) level.value = wanted;
  };
  const counts = () => data.labels[label.value].levels[level.value];

  // Another label or level has another threshold and another prevalence: start from its own.
  const restart = () => {
    const found = counts();
    slider.max = String(found.thresholds.length - 1);
    slider.value = String(found.start);
    prevalence.value = String(Number((100 * found.positives / (found.positives + found.negatives)).toPrecision(4)));
    show();
  };

  const show = () => {
    const found = counts(), place = Number(slider.value);
    const threshold = String(Number(found.thresholds[place].toPrecision(6)));
    const truePositives = found.truePositives[place], falsePositives = found.falsePositives[place];
    const sensitivity = truePositives / found.positives;
    const specificity = 1 - falsePositives / found.negatives;
    const name = found.names[String(place)];
    const rows = data.levels[level.value].toLowerCase();

    const prior = bounded(prevalence, 0, 100) / 100;
    const flaggedPositives = sensitivity * prior, flaggedNegatives = (1 - specificity) * (1 - prior);
    const ppv = flaggedPositives / (flaggedPositives + flaggedNegatives);
    const cleared = specificity * (1 - prior);
    const npv = cleared / (cleared + (1 - sensitivity) * prior);
    const perDay = bounded(studies, 0, 1e6) * data.rowsAStudy[level.value];
    const alarms = perDay * (flaggedPositives + flaggedNegatives), falseAlarms = perDay * flaggedNegatives;
    const day = Number.isFinite(alarms) ? rate(alarms) + ", of which false: " + rate(falseAlarms) : "not defined";

    slider.setAttribute("aria-valuetext", threshold);
    at("threshold").textContent = threshold + (name ? " (" + name + ")" : "");
    at("sensitivity").textContent = share(sensitivity);
    at("specificity").textContent = share(specificity);
    at("ppv").textContent = share(ppv);
    at("npv").textContent = share(npv);
    at("alarms").textContent = day;
    at("rows").textContent = rows;
    at("true-positives").textContent = String(truePositives);
    at("false-negatives").textContent = String(found.positives - truePositives);
    at("false-positives").textContent = String(falsePositives);
    at("true-negatives").textContent = String(found.negatives - falsePositives);
  };

  data.labels.forEach((item, place) => add(label, String(place), item.display));
  fillLevels();
  label.addEventListener("change", () => { fillLevels(); restart(); });
  level.addEventListener("change", restart);
  for (const input of [slider, prevalence, studies]) input.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  restart();
  form.hidden = false;
})();
