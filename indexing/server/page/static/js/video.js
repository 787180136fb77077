// A video's page: the player leads, and boxes, lanes and curves follow it.

import { Boxes } from "./boxes.js";
import { Curves } from "./curves.js";
import { clock, faceOf, find, make, typing } from "./dom.js";
import { Lanes } from "./lanes.js";
import { onRefresh } from "./refresh.js";

const JUMP = 5;

export function start() {
  const player = find("[data-player]"), video = find("video", player);
  const { video: id, fps, width, height } = player.dataset;
  find(".stage").style.setProperty("--ratio", width / height);
  const boxes = new Boxes(player, id), lanes = new Lanes(), curves = new Curves(id, lanes);
  const time = () => video?.currentTime ?? 0;
  const seek = (to) => {
    if (!video) return;
    video.currentTime = Math.min(Math.max(to, 0), lanes.end);
    show(video.currentTime);
  };

  function show(at) {
    boxes.show(at);
    lanes.show(at, Boolean(video && !video.paused));
    curves.show(at);
    find("[data-clock]").textContent = clock(at);
    now(boxes.seen, curves, at);
  }

  if (video) follow(video, show);
  boxes.onChange = () => now(boxes.seen, curves, time());
  curves.onLoad = () => show(time());
  lanes.onSeek = seek;
  lanes.onChoose = (identity, label) => curves.choose(identity, label, time());
  lanes.onZoom = () => { curves.zoom(); show(time()); };
  onRefresh(() => { boxes.forget(); lanes.read(); curves.forget(); show(time()); });
  new ResizeObserver(() => show(time())).observe(player);
  find("[data-boxes-toggle]")?.addEventListener("change", ({ target }) => boxes.switch(target.checked));
  document.addEventListener("keydown", (event) => press(event, { video, seek, lanes, frame: 1 / (Number(fps) || 25) }));

  lanes.read();
  const wanted = Number(new URLSearchParams(location.search).get("t"));
  if (video && wanted) video.addEventListener("loadedmetadata", () => seek(wanted), { once: true });
  if (video && wanted && video.readyState) seek(wanted);
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="?t="]');
    if (!link || !video) return;
    event.preventDefault();
    seek(Number(link.getAttribute("href").slice(3)));
    player.scrollIntoView({ block: "center" });
  });
  show(wanted || time());
}

/** Call `show` with the time of every frame that is put on the screen. */
function follow(video, show) {
  const say = find("[data-say]");
  if (video.requestVideoFrameCallback) {
    const each = (_, { mediaTime }) => { show(mediaTime); video.requestVideoFrameCallback(each); };
    video.requestVideoFrameCallback(each);
  }
  for (const name of ["timeupdate", "seeking", "play", "pause"]) video.addEventListener(name, () => show(video.currentTime));
  const complain = async () => {
    const gone = await fetch(video.currentSrc || video.src, { method: "GET", headers: { Range: "bytes=0-0" } }).then((answer) => !answer.ok).catch(() => true);
    say.textContent = gone ? "The file is no longer where it was when it was added. All that was found in it is still here." : "This browser cannot play the file. All that was found in it is still here; frames can be looked at by a click on the lanes.";
    say.hidden = false;
  };
  video.addEventListener("error", complain);
  if (video.error) complain();
}

function press(event, { video, seek, lanes, frame }) {
  if (typing(event) || event.target.matches?.("button, summary, a, input") && event.key === " ") return;
  const actions = {
    " ": () => (video?.paused ? video.play() : video?.pause()),
    j: () => seek(video.currentTime - JUMP),
    l: () => seek(video.currentTime + JUMP),
    ",": () => seek(video.currentTime - frame),
    ".": () => seek(video.currentTime + frame),
    "+": () => lanes.zoom(0.5), "=": () => lanes.zoom(0.5), "-": () => lanes.zoom(2), 0: () => lanes.zoom(Infinity),
    b: () => find("[data-boxes-toggle]").click(),
  };
  if (!actions[event.key] || (!video && event.key !== "b")) return;
  if (event.target === video && event.key === " ") return;
  event.preventDefault();
  actions[event.key]();
}

let listed = "";

/** List who is on screen, and what they show at this moment. */
function now(seen, curves, at) {
  const list = find("[data-now]"), key = seen.map(({ track, label }) => `${track}${label}`).join();
  if (key !== listed) {
    listed = key;
    list.replaceChildren(...seen.map((one) => make("li", {},
      make("img", { class: "face-image", alt: "", src: faceOf(one.track) }),
      make("div", {},
        one.identity ? make("a", { href: `/people/${one.identity}` }, one.label) : make("strong", {}, one.label),
        make("p", { class: "feeling" })))));
    find("[data-nobody]").hidden = seen.length > 0;
  }
  seen.forEach(({ identity }, place) => feeling(find(".feeling", list.children[place]), identity && curves.at(identity, at), curves));
}

function feeling(place, felt, curves) {
  const text = felt ? `${felt.label} ${Math.round(100 * felt.share)} %` : curves.area ? "expression not known" : "";
  if (place.dataset.text === text) return;
  place.dataset.text = text;
  place.replaceChildren();
  place.append(...(felt ? [felt.swatch()] : []), text);
}

