// Uploads a pickle to a presigned URL, shows the progress, and opens the check results.
// Without this script the form submits the file itself.
"use strict";

const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const file = document.getElementById("file");
const chosen = document.getElementById("chosen");
const progress = document.getElementById("progress");
const bar = document.getElementById("bar");
const progressText = document.getElementById("progress-text");
const errorText = document.getElementById("error");
const send = document.getElementById("send");
const cancel = document.getElementById("cancel");
let xhr = null;

function mebibytes(bytes) {
  return bytes < 1048576 ? `${(bytes / 1024).toFixed(0)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;
}

function showError(message) {
  errorText.textContent = message;
  errorText.hidden = false;
}

function checkFile() {
  const chosenFile = file.files[0];
  errorText.hidden = true;
  chosen.textContent = chosenFile ? `${chosenFile.name}, ${mebibytes(chosenFile.size)}` : "";
  if (!chosenFile) return false;
  if (!chosenFile.name.toLowerCase().endsWith(".pkl")) showError(`${chosenFile.name} is not a pickle file. Choose a file whose name ends in .pkl.`);
  else if (chosenFile.size > Number(form.dataset.maxMb) * 1048576) showError(`${chosenFile.name} is too large (${mebibytes(chosenFile.size)}). Choose a file of at most ${form.dataset.maxMb} MiB.`);
  else if (chosenFile.size === 0) showError(`${chosenFile.name} is empty. Write the file again, close it, and then upload it.`);
  return errorText.hidden;
}

async function post(step, fields) {
  const body = new URLSearchParams({ csrf: form.elements.csrf.value, ...fields });
  const response = await fetch(`${form.action}/${step}`, { method: "POST", body, headers: { Accept: "application/json" } });
  const content = await response.json();
  if (!response.ok) throw new Error(content.error);
  return content;
}

function put(url, content) {
  return new Promise((resolve, reject) => {
    xhr = new XMLHttpRequest();
    xhr.upload.onprogress = (event) => {
      if (!event.lengthComputable) return;
      bar.value = (100 * event.loaded) / event.total;
      progressText.textContent = `Uploading: ${mebibytes(event.loaded)} of ${mebibytes(event.total)}`;
    };
    xhr.onload = () => (xhr.status === 200 ? resolve() : reject(new Error(xhr.responseText.trim())));
    xhr.onerror = () => reject(new Error("The connection was lost. Upload the file again."));
    xhr.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    xhr.open("PUT", url);
    xhr.send(content);
  });
}

function setUploading(isUploading) {
  progress.hidden = cancel.hidden = !isUploading;
  send.disabled = isUploading;
  bar.value = 0;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!checkFile()) return;
  setUploading(true);
  try {
    const chosenFile = file.files[0];
    const { filename, url } = await post("begin", { filename: chosenFile.name });
    await put(url, chosenFile);
    progressText.textContent = "Checking the file";
    cancel.hidden = true;
    location.assign(`${form.action}/${encodeURIComponent(filename)}`);
  } catch (error) {
    setUploading(false);
    if (error.name === "AbortError") chosen.textContent = "Upload canceled.";
    else showError(error.message);
  }
});
cancel.addEventListener("click", () => xhr?.abort());
file.addEventListener("change", checkFile);
document.querySelector(".drop-hint").hidden = false;
// The browser's back button restores the page as it was.
window.addEventListener("pageshow", () => setUploading(false));
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
    checkFile();
  }
});
