/** Who is calling. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter } from "@connectrpc/connect";

import { SessionService } from "../src/gen/candela/user/v1/session_service_pb.js";
import { UserService } from "../src/gen/candela/user/v1/user_service_pb.js";
import type { Grant } from "../src/index.js";
import { candelaOf, refusal } from "./fake.js";

const MINUTE = 60_000;

/** A service that counts its grants: `access-1`, `access-2` … and takes only the newest. */
class Sessions {
  granted = 0;
  seen: (string | null)[] = [];
  refreshes: string[] = [];
  life = 15 * MINUTE;
  refusal: string | undefined;

  readonly routes = (router: ConnectRouter) => {
    router.service(SessionService, {
      createSession: () => this.#grant(),
      refreshSession: (request) => {
        this.refreshes.push(request.refreshToken);
        if (this.refusal) {
          throw refusal(Code.Unauthenticated, this.refusal);
        }
        return this.#grant();
      },
      deleteSession: (request, context) => {
        this.seen.push(`${request.name} ${context.requestHeader.get("authorization")}`);
        return {};
      },
    });
    router.service(UserService, {
      getUser: (_, context) => {
        const token = context.requestHeader.get("authorization");
        this.seen.push(token);
        if (this.granted > 0 && token !== `Bearer access-${this.granted}`) {
          throw refusal(Code.Unauthenticated, "TOKEN_EXPIRED");
        }
        return {};
      },
      registerUser: (_, context) => {
        this.seen.push(context.requestHeader.get("authorization"));
        return {};
      },
    });
  };

  #grant() {
    this.granted++;
    return {
      session: { name: "sessions/1" },
      accessToken: `access-${this.granted}`,
      accessTokenExpireTime: timestampFromMs(Date.now() + this.life),
      refreshToken: `refresh-${this.granted}`,
    };
  }
}

test("a token goes with every call that needs one, and with no other", async () => {
  const sessions = new Sessions();
  const candela = candelaOf(sessions.routes, { token: () => "mine" });
  await candela.user.getUser({});
  await candela.user.registerUser({});
  assert.deepEqual(sessions.seen, ["Bearer mine", null]);
});

test("an API key is sent as it is", async () => {
  const sessions = new Sessions();
  await candelaOf(sessions.routes, { apiKey: "ck_1" }).user.getUser({});
  assert.deepEqual(sessions.seen, ["Bearer ck_1"]);
});

test("only one identity can be given", () => {
  assert.throws(() => candelaOf(() => {}, { apiKey: "ck_1", token: "mine" }), TypeError);
});

test("after a log-in every call is the user's, until the log-out", async () => {
  const sessions = new Sessions();
  const candela = candelaOf(sessions.routes);
  const grants: (Grant | undefined)[] = [];
  candela.auth.onGrant = (grant) => grants.push(grant);
  assert.equal((await candela.auth.logIn("ada@example.com", "secret")).name, "sessions/1");
  await candela.user.getUser({});
  await candela.auth.logOut();
  assert.deepEqual(sessions.seen, ["Bearer access-1", "sessions/current Bearer access-1"]);
  assert.deepEqual(
    grants.map((grant) => grant?.refreshToken),
    ["refresh-1", undefined],
  );
  assert.equal(candela.auth.grant, undefined);
});

test("a token that ends soon is renewed before it is sent, once for all calls that wait", async () => {
  const sessions = new Sessions();
  sessions.life = MINUTE / 2;
  const candela = candelaOf(sessions.routes);
  await candela.auth.logIn("ada@example.com", "secret");
  sessions.life = 15 * MINUTE;
  await Promise.all([candela.user.getUser({}), candela.user.getUser({}), candela.user.getUser({})]);
  assert.deepEqual(sessions.refreshes, ["refresh-1"]);
  assert.deepEqual(new Set(sessions.seen), new Set(["Bearer access-2"]));
});

test("a token that the server calls too old is renewed and the call made again", async () => {
  const sessions = new Sessions();
  const candela = candelaOf(sessions.routes);
  await candela.auth.logIn("ada@example.com", "secret");
  sessions.granted++; // somewhere else
  await candela.user.getUser({});
  assert.deepEqual(sessions.seen, ["Bearer access-1", "Bearer access-3"]);
});

test("a session that has ended is forgotten", async () => {
  const sessions = new Sessions();
  const candela = candelaOf(sessions.routes, {
    grant: { session: "sessions/1", accessToken: "old", accessTokenEnd: 0, refreshToken: "stolen" },
  });
  sessions.refusal = "REFRESH_TOKEN_REUSED";
  await assert.rejects(candela.user.getUser({}), { reason: "REFRESH_TOKEN_REUSED" });
  assert.equal(candela.auth.grant, undefined);
});
