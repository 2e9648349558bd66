// The chat: streams an answer, marks what was guessed, then has the same answer written without guesses and compares.

const byId = (id) => document.getElementById(id);
const model = byId("talk").dataset.model;
const turns = [];  // {role, content}, as the server wants them
let work = null;   // the AbortController of what is under way

const element = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

const number = (value, digits = 1) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function addTurn(kind, who) {
  byId("empty").hidden = true;
  const turn = element("li", kind), said = element("p", "said");
  turn.append(element("p", "who", who), said);
  byId("turns").append(turn);
  turn.scrollIntoView({ block: "end" });
  return { turn, said };
}

function headers() {
  const key = byId("key").value.trim();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

function body(messages, more) {
  const system = byId("system").value.trim();
  return JSON.stringify({
    model,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...messages],
    max_tokens: Number(byId("max-tokens").value),
    temperature: Number(byId("temperature").value),
    ...more,
  });
}

async function ask(messages, more, signal) {
  const reply = await fetch("/v1/chat/completions", { method: "POST", headers: headers(), body: body(messages, more), signal });
  if (reply.ok) return reply;
  const failure = await reply.json().catch(() => null);
  throw new Error(failure?.error?.message ?? `the server answered with status ${reply.status}`);
}

// The chunks of a stream of server-sent events, as they come.
async function* chunks(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    waiting += value;
    const events = waiting.split("\n\n");
    waiting = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      yield chunk;
    }
  }
}

function addSpan(said, { text, source }) {
  const guessed = source !== "target", last = said.lastElementChild;
  if (last && last.classList.contains("guessed") === guessed) last.textContent += text;
  else {
    const span = element("span", guessed ? "guessed" : "plain", text);
    if (guessed) span.title = `guessed by ${source}`;
    said.append(span);
  }
}

// Tokens a second while decoding: the prompt's own pass, and its token, left out.
const speed = (report, numTokens) => (numTokens > 1 ? (1000 * (numTokens - 1)) / (report.total_ms - report.prompt_ms) : null);

function addSpeeds(turn, facts) {
  turn.querySelector(".speeds")?.remove();
  const list = element("dl", "speeds");
  for (const [name, value] of facts) {
    const pair = element("div");
    pair.append(element("dt", "", name), element("dd", "", value));
    list.append(pair);
  }
  turn.append(list);
}

async function write(messages, said, signal) {
  let text = "", report = null, counted = null;
  const stream_options = { include_usage: true, include_sources: true };
  for await (const chunk of chunks(await ask(messages, { stream: true, stream_options, seed: 0 }, signal))) {
    counted = chunk.usage ?? counted;
    const choice = chunk.choices[0];
    if (!choice) continue;
    for (const span of choice.sources ?? []) {
      text += span.text;
      addSpan(said, span);
    }
    report = choice.speculation ?? report;
    if (choice.finish_reason === "content_filter") throw new Error("the guard ended this answer");
    byId("ask").scrollIntoView({ block: "end" });
  }
  return { text, report, numTokens: counted.completion_tokens };
}

async function answer(signal) {
  const { turn, said } = addTurn("answer", model), asked = [...turns];
  const written = await write(asked, said, signal);
  turns.push({ role: "assistant", content: written.text });
  const { report, numTokens } = written, fast = speed(report, numTokens);
  const facts = [
    ["With guesses", fast ? `${number(fast)} tokens/s` : "one token"],
    ["Guesses confirmed", report.drafted ? `${report.accepted} of ${report.drafted}` : "none made"],
    ["Tokens a pass", number(report.tokens_per_pass, 2)],
  ];
  addSpeeds(turn, facts);
  if (byId("compare").checked && fast) {
    byId("status").textContent = "Answered. Writing it again without guesses.";
    addSpeeds(turn, [...facts, ["Without guesses", "being written…"]]);
    const plain = (await (await ask(asked, { speculate: false, seed: 0 }, signal)).json()).choices[0];
    const slow = speed(plain.speculation, numTokens);
    addSpeeds(turn, [
      ...facts,
      ["Without guesses", `${number(slow)} tokens/s`],
      ["Speed-up", `${number(fast / slow, 2)}×`],
      ["Text", plain.message.content === written.text ? "the same, letter by letter" : "differs"],
    ]);
  }
}

function setBusy(isBusy) {
  byId("send").hidden = isBusy;
  byId("stop").hidden = !isBusy;
  byId("turns").setAttribute("aria-busy", String(isBusy));
}

async function send(question) {
  addTurn("asked", "You").said.textContent = question;
  turns.push({ role: "user", content: question });
  work = new AbortController();
  setBusy(true);
  byId("status").textContent = "The model is writing.";
  try {
    await answer(work.signal);
    byId("status").textContent = "The answer is complete.";
  } catch (failure) {
    const stopped = failure.name === "AbortError";
    if (turns.at(-1).role === "user") turns.pop();
    const { turn, said } = addTurn("answer", "Tenfold");
    turn.classList.add("failure");
    said.textContent = stopped ? "Stopped." : `This did not work: ${failure.message}`;
    byId("status").textContent = said.textContent;
  } finally {
    work = null;
    setBusy(false);
    byId("question").focus();
  }
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = byId("question").value.trim();
  if (!question || work) return;
  byId("question").value = "";
  send(question);
});

byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("ask").requestSubmit();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") work?.abort();
});
byId("stop").addEventListener("click", () => work?.abort());
byId("fresh").addEventListener("click", () => {
  work?.abort();
  turns.length = 0;
  byId("turns").replaceChildren();
  byId("empty").hidden = false;
  byId("question").focus();
});
for (const example of document.querySelectorAll(".example"))
  example.addEventListener("click", () => !work && send(example.textContent));
