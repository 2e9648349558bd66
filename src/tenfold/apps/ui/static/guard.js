// The guard's page: asks for a verdict and shows it.

const byId = (id) => document.getElementById(id);
const DECISIONS = { allow: "Allowed", review: "To be looked at by a person", block: "Blocked" };
const percent = (share) => `${(100 * share).toFixed(1)} %`;

const element = (name, text, attributes = {}) => Object.assign(document.createElement(name), { textContent: text, ...attributes });

function show(verdict) {
  const scale = element("meter", percent(verdict.score), { min: 0, max: 1, value: verdict.score, title: "Score" });
  scale.setAttribute("aria-label", `Score ${percent(verdict.score)}`);
  const list = element("dl", "", { className: "speeds" });
  for (const [label, share] of Object.entries(verdict.probabilities)) {
    const pair = element("div", "");
    pair.append(element("dt", label), element("dd", percent(share)));
    list.append(pair);
  }
  byId("verdict").replaceChildren(
    element("h2", `${DECISIONS[verdict.decision]}: ${verdict.label}`),
    element("p", `Score ${percent(verdict.score)}, where 0 is safe and 100 unsafe.`), scale, list, ...reasons(verdict),
  );
}

function reasons({ explanation, rules }) {
  if (!explanation) return [];
  const cited = explanation.rule ? `It cites the rule: ${rules[explanation.rule - 1]}` : "It cites no rule.";
  const checked = explanation.verified ? "The cited rule and the evidence carry the verdict's weight." : "Not borne out: leaving the cited rule or the evidence out hardly changes the verdict.";
  return [
    element("h3", "Why"), element("p", explanation.reason || "The model gave no reason."),
    ...(explanation.evidence ? [element("blockquote", explanation.evidence)] : []),
    element("p", cited), element("p", checked),
  ];
}

async function judge() {
  const query = byId("query").value.trim(), response = byId("response").value;
  const rules = byId("rules").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const key = byId("key").value.trim();
  const reply = await fetch("/v1/guard/check", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) },
    body: JSON.stringify({ query, response, rules, explain: byId("explain").checked }),
  });
  const body = await reply.json();
  if (!reply.ok) throw new Error(body.error.message);
  show(body);
}

byId("judge").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("verdict").hidden = false;
  byId("verdict").replaceChildren(element("p", "Judging…"));
  try {
    await judge();
  } catch (failure) {
    byId("verdict").replaceChildren(element("p", `This did not work: ${failure.message}`, { className: "failure" }));
  }
  byId("verdict").scrollIntoView({ block: "nearest" });
});
