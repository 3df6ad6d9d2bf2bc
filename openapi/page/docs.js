// The page at /docs: Swagger UI over the mesh's own OpenAPI document. What is added: a log-in that succeeds signs the page
// in, and streams of events are shown while they arrive. Nothing is loaded from elsewhere and nothing is kept.
"use strict";

const part = (id) => document.getElementById(id);

// Takes the token of a new session, so that the next call is made with it.
function signIn(grant) {
  ui.preauthorizeApiKey("bearer", grant.accessToken);
  part("who").textContent = `Signed in; the token is good until ${new Date(grant.accessTokenExpireTime).toLocaleTimeString()}.`;
}

// Sends a request as Swagger UI would. An answer that is a stream of events is shown event by event and can be stopped;
// Swagger UI itself shows an answer only when it is whole.
async function send(url, request) {
  const stop = new AbortController();
  const answer = await fetch(url, { ...request, signal: stop.signal });
  if (!(answer.headers.get("content-type") || "").startsWith("text/event-stream")) return answer;
  const text = await show(`${request.method} ${new URL(url, location.href).pathname}`, answer.body, stop);
  return new Response(text, { status: answer.status, statusText: answer.statusText, headers: answer.headers });
}

async function show(name, body, stop) {
  const events = part("stream-events");
  part("stream").hidden = false;
  part("stream-name").textContent = name;
  part("stream-state").textContent = "is running";
  part("stream-stop").onclick = () => stop.abort();
  events.textContent = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      events.textContent += next.value;
      events.scrollTop = events.scrollHeight;
    }
    part("stream-state").textContent = "has ended";
  } catch (error) {
    part("stream-state").textContent = stop.signal.aborted ? "was stopped" : `broke: ${error.message}`;
  }
  return events.textContent;
}

const ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  tryItOutEnabled: true,
  validatorUrl: null, // there is a public service that looks at documents; ours stays here
  requestInterceptor: (request) => Object.assign(request, { userFetch: send }),
  responseInterceptor: (answer) => {
    if (answer.ok && answer.obj && answer.obj.accessToken) signIn(answer.obj);
    return answer;
  },
});
