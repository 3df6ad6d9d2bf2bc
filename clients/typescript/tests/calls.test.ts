/** What happens to a call on its way. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";

import { UserSchema } from "../src/gen/candela/user/v1/user_pb.js";
import { RegisterUserRequestSchema, UserService } from "../src/gen/candela/user/v1/user_service_pb.js";
import { SessionService } from "../src/gen/candela/user/v1/session_service_pb.js";
import { CandelaError } from "../src/index.js";
import { candelaOf, details, refusal } from "./fake.js";

const NO_PAUSE = { sleep: async () => {} };

test("every attempt of a mutation carries one key, and the caller's message stays as it is", async () => {
  const keys: string[] = [];
  const candela = candelaOf(
    (router) =>
      router.service(UserService, {
        registerUser: (request) => {
          keys.push(request.requestId);
          if (keys.length < 3) {
            throw refusal(Code.Unavailable, "UNAVAILABLE");
          }
          return { name: "users/1" };
        },
      }),
    { retry: NO_PAUSE },
  );
  const request = create(RegisterUserRequestSchema, { email: "ada@example.com" });
  assert.equal((await candela.user.registerUser(request)).name, "users/1");
  assert.equal(keys.length, 3);
  assert.match(keys[0]!, /^[0-9a-f-]{36}$/);
  assert.equal(new Set(keys).size, 1);
  assert.equal(request.requestId, "");
});

test("a key of the caller's stays", async () => {
  const keys: string[] = [];
  const candela = candelaOf((router) =>
    router.service(UserService, { registerUser: (request) => (keys.push(request.requestId), {}) }),
  );
  await candela.user.registerUser({ requestId: "mine" });
  assert.deepEqual(keys, ["mine"]);
});

test("what may have been done is not done again", async () => {
  let calls = 0;
  const candela = candelaOf(
    (router) =>
      router.service(SessionService, {
        createSession: () => {
          calls++;
          throw refusal(Code.Unavailable, "UNAVAILABLE");
        },
      }),
    { retry: NO_PAUSE },
  );
  await assert.rejects(candela.session.createSession({}), { code: Code.Unavailable });
  assert.equal(calls, 1);
});

test("pauses grow up to a bound, and a server that names a time is given it", async () => {
  const pauses: number[] = [];
  const sleep = async (milliseconds: number) => void pauses.push(milliseconds);
  const candela = candelaOf(
    (router) =>
      router.service(UserService, {
        getUser: () => {
          throw refusal(Code.Unavailable, "UNAVAILABLE", [details.retry]);
        },
      }),
    { retry: { sleep, attempts: 3, longestPauseMs: 50 } },
  );
  await assert.rejects(candela.user.getUser({ name: "users/me" }));
  assert.deepEqual(pauses, [1500, 1500]);
});

test("an error says everything that Candela said", async () => {
  const candela = candelaOf((router) =>
    router.service(UserService, {
      registerUser: () => {
        throw refusal(Code.InvalidArgument, "INVALID_ARGUMENT", [details.violation, details.retry, details.trace]);
      },
    }),
  );
  const error = await candela.user.registerUser({ requestId: "mine" }).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof CandelaError);
  assert.equal(error.code, Code.InvalidArgument);
  assert.equal(error.rawMessage, "that was wrong");
  assert.equal(error.reason, "INVALID_ARGUMENT");
  assert.deepEqual({ ...error.info }, { field: "email" });
  assert.deepEqual(error.violations, [{ field: "password", description: "is too short", rule: "string.min_len" }]);
  assert.equal(error.retryAfterMs, 1500);
  assert.equal(error.traceId, "0123456789abcdef0123456789abcdef");
  assert.equal(error.requestId, "mine");
});

test("an error that is not Candela's has no reason", async () => {
  const candela = candelaOf(() => {}, { retry: NO_PAUSE });
  const error = await candela.user.getUser({}).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof CandelaError);
  assert.equal(error.code, Code.Unimplemented);
  assert.equal(error.reason, "");
});

test("a call that takes too long ends, all attempts together", async () => {
  const candela = candelaOf(
    (router) =>
      router.service(UserService, {
        getUser: (_, context) =>
          new Promise((_, reject) => context.signal.addEventListener("abort", () => reject(context.signal.reason))),
      }),
    { timeoutMs: 20 },
  );
  await assert.rejects(candela.user.getUser({}), { code: Code.DeadlineExceeded });
});

test("a timeout of the call's own counts", async () => {
  const seen: (string | null)[] = [];
  const candela = candelaOf((router) =>
    router.service(UserService, {
      getUser: (_, context) => {
        seen.push(String(Math.ceil((context.timeoutMs() ?? 0) / 1000)));
        return create(UserSchema, {});
      },
    }),
  );
  await candela.user.getUser({}, { timeoutMs: 90_000 });
  await candela.user.getUser({});
  assert.deepEqual(seen, ["90", "30"]);
});
