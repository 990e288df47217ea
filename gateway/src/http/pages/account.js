"use strict";

// The secret of the link: kept out of the address bar and of the history from here on.
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

const form = document.querySelector("form");
const outcome = document.getElementById("outcome");

async function send() {
  const body = JSON.stringify({ token, password: form.elements.password.value });
  const headers = { "content-type": "application/json" };
  const answer = await fetch(form.dataset.action, { method: "POST", headers, body });
  if (answer.ok) {
    form.elements.password.value = "";
    return form.dataset.done;
  }
  const problem = await answer.json();
  return problem.detail;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    outcome.textContent = await send();
  } catch {
    outcome.textContent = "The server did not answer. Try again.";
  }
  button.disabled = false;
});

if (token === "") {
  outcome.textContent = "This link is not complete: open it from the mail again.";
}
