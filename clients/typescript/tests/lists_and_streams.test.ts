/** Lists that are longer than one answer, and answers that come in pieces. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Code } from "@connectrpc/connect";

import { RecognitionJobService } from "../src/gen/candela/recognition/v1/recognition_job_service_pb.js";
import { SessionService } from "../src/gen/candela/user/v1/session_service_pb.js";
import type { Status } from "../src/gen/google/rpc/status_pb.js";
import { CandelaError, follow, items, pages } from "../src/index.js";
import { candelaOf, status } from "./fake.js";

const PAGES: Record<string, { sessions: { name: string }[]; nextPageToken: string }> = {
  "": { sessions: [{ name: "sessions/1" }, { name: "sessions/2" }], nextPageToken: "more" },
  more: { sessions: [], nextPageToken: "last" },
  last: { sessions: [{ name: "sessions/3" }], nextPageToken: "" },
};

test("a pager yields everything, page by page or item by item", async () => {
  const asked: string[] = [];
  const candela = candelaOf((router) =>
    router.service(SessionService, {
      listSessions: (request) => (asked.push(`${request.pageToken}/${request.pageSize}`), PAGES[request.pageToken]!),
    }),
  );
  const names: string[] = [];
  for await (const session of items(candela.session.listSessions, { pageSize: 2 })) {
    names.push(session.name);
  }
  assert.deepEqual(names, ["sessions/1", "sessions/2", "sessions/3"]);
  assert.deepEqual(asked, ["/2", "more/2", "last/2"]);
  const sizes: number[] = [];
  for await (const page of pages(candela.session.listSessions, { pageToken: "more" })) {
    sizes.push(page.sessions.length);
  }
  assert.deepEqual(sizes, [0, 1]);
});

type Sent = { event: { case: "progress" | "completed" | "error"; value: object } };

function watching(...events: Sent[]) {
  const candela = candelaOf((router) =>
    router.service(RecognitionJobService, {
      watchRecognitionJob: async function* () {
        yield* events as never[];
      },
    }),
  );
  return follow(candela.recognitionJob.watchRecognitionJob({ name: "recognitionJobs/1" }));
}

const progress: Sent = { event: { case: "progress", value: {} } };
const completed: Sent = { event: { case: "completed", value: { recognitionJob: { name: "recognitionJobs/1" } } } };

function ended(by: Status): Sent {
  return { event: { case: "error", value: by } };
}

test("a stream is its events, and what the last one said", async () => {
  const stream = watching(progress, progress, completed);
  const cases: (string | undefined)[] = [];
  for await (const event of stream) {
    cases.push(event.event.case);
  }
  assert.deepEqual(cases, ["progress", "progress", "completed"]);
  assert.equal((await stream.final()).recognitionJob?.name, "recognitionJobs/1");
});

test("the end can be waited for without looking at events", async () => {
  assert.equal((await watching(progress, completed).final()).recognitionJob?.name, "recognitionJobs/1");
});

test("an error event is thrown as what it is", async () => {
  const error = await watching(progress, ended(status(Code.Internal, "MODEL_FAILED")))
    .final()
    .catch((thrown: unknown) => thrown);
  assert.ok(error instanceof CandelaError);
  assert.equal(error.code, Code.Internal);
  assert.equal(error.reason, "MODEL_FAILED");
});

test("a stream that breaks off does not look complete", async () => {
  await assert.rejects(watching(progress).final(), { code: Code.Unavailable });
});
