for (const form of document.querySelectorAll("form")) {
  const shown = form.querySelector(".answer");
  const body = form.querySelector("textarea");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    shown.hidden = false;
    shown.textContent = "waiting for the answer";
    const began = performance.now();
    try {
      const headers = { "content-type": "application/json" };
      const asked = body ? { method: "POST", body: body.value, headers } : {};
      const answer = await fetch(form.dataset.path, asked);
      const text = await answer.text();
      const took = Math.round(performance.now() - began);
      shown.textContent = `${answer.status} ${answer.statusText}, ${took} ms\n\n${short(text)}`;
    } catch (error) {
      shown.textContent = `no answer: ${error.message}`;
    }
  });
}

// Indented, with the numbers of a vector on one line, and no longer than one reads.
function short(text) {
  try {
    text = JSON.stringify(JSON.parse(text), null, 2).replace(/\n\s+(?=-?[\d.])/g, " ");
  } catch {
    // no JSON
  }
  return text.length > 3000 ? `${text.slice(0, 3000)} … (${text.length} characters)` : text;
}
