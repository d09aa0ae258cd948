// Uploads a pickle: asks for an address, sends the file there while it tells how far it is, and goes on to its check.
// Without this script the form itself sends the file.
"use strict";

const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const file = document.getElementById("file");
const chosen = document.getElementById("chosen");
const going = document.getElementById("going");
const bar = document.getElementById("bar");
const told = document.getElementById("told");
const trouble = document.getElementById("trouble");
const send = document.getElementById("send");
const cancel = document.getElementById("cancel");
let sending = null;

function mebibytes(bytes) {
  return bytes < 1048576 ? `${(bytes / 1024).toFixed(0)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;
}

function refuse(message) {
  trouble.textContent = message;
  trouble.hidden = false;
}

function check() {
  const one = file.files[0];
  trouble.hidden = true;
  chosen.textContent = one ? `${one.name}, ${mebibytes(one.size)}` : "";
  if (!one) return false;
  if (!one.name.toLowerCase().endsWith(".pkl")) refuse(`${one.name} is not a pickle file. Choose a file whose name ends in .pkl.`);
  else if (one.size > Number(form.dataset.mostMb) * 1048576) refuse(`${one.name} is too large (${mebibytes(one.size)}). Choose a file of at most ${form.dataset.mostMb} MiB.`);
  else if (one.size === 0) refuse(`${one.name} is empty. Write the file again, close it, and then upload it.`);
  return trouble.hidden;
}

async function ask(step, fields) {
  const body = new URLSearchParams({ csrf: form.elements.csrf.value, ...fields });
  const answer = await fetch(`${form.action}/${step}`, { method: "POST", body, headers: { Accept: "application/json" } });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function put(url, content) {
  return new Promise((resolve, reject) => {
    sending = new XMLHttpRequest();
    sending.upload.onprogress = (event) => {
      if (!event.lengthComputable) return;
      bar.value = (100 * event.loaded) / event.total;
      told.textContent = `Uploading: ${mebibytes(event.loaded)} of ${mebibytes(event.total)}`;
    };
    sending.onload = () => (sending.status === 200 ? resolve() : reject(new Error(sending.responseText.trim())));
    sending.onerror = () => reject(new Error("The connection was lost. Upload the file again."));
    sending.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    sending.open("PUT", url);
    sending.send(content);
  });
}

function setGoing(is) {
  going.hidden = cancel.hidden = !is;
  send.disabled = is;
  bar.value = 0;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!check()) return;
  setGoing(true);
  try {
    const one = file.files[0];
    const { filename, url } = await ask("begin", { filename: one.name });
    await put(url, one);
    told.textContent = "Checking the file";
    cancel.hidden = true;
    location.assign(`${form.action}/${encodeURIComponent(filename)}`);
  } catch (error) {
    setGoing(false);
    if (error.name === "AbortError") chosen.textContent = "Upload canceled.";
    else refuse(error.message);
  }
});
cancel.addEventListener("click", () => sending?.abort());
file.addEventListener("change", check);
document.querySelector(".drops").hidden = false;
// Whoever comes back to this page may upload once more.
window.addEventListener("pageshow", () => setGoing(false));
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) {
    file.files = event.dataTransfer.files;
    check();
  }
});
