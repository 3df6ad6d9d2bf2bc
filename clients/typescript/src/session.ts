/** Who a client calls as: nobody, a fixed token or key, or a session whose tokens it renews by itself. */

import { type DescMethod, getOption } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { createClient, type Interceptor, type Transport } from "@connectrpc/connect";

import { CandelaError } from "./errors.js";
import { Access_Level, access } from "./gen/candela/auth/v1/access_pb.js";
import type { Session as SessionMessage, SessionGrant } from "./gen/candela/user/v1/session_pb.js";
import { SessionService } from "./gen/candela/user/v1/session_service_pb.js";

/** An access token is renewed this long before its end, so that no call leaves with one that ends on the way. */
const MARGIN_MS = 60_000;

/** What to call with: a token, a session, or nothing. */
export interface Credentials {
  token?: () => string | Promise<string>;
  grant?: Grant;
}

/** The tokens of a session. They are secrets; a refresh token works once, so keep only the newest. Ends are in milliseconds since 1970. */
export interface Grant {
  session: string;
  accessToken: string;
  accessTokenEnd: number;
  refreshToken: string;
}

/** Tells whether a method is called as somebody; public ones are called without a token. */
export function needsToken(method: DescMethod): boolean {
  return getOption(method, access).level !== Access_Level.PUBLIC;
}

/** The identity of a client. */
export class Session {
  /** Called with every new grant, and with undefined when the session has ended. */
  onGrant: ((grant: Grant | undefined) => void) | undefined;

  readonly #fixed: (() => string | Promise<string>) | undefined;
  readonly #transport: (interceptors: Interceptor[]) => Transport;
  #grant: Grant | undefined;
  #renewal: Promise<string> | undefined;

  constructor(credentials: Credentials, transport: (interceptors: Interceptor[]) => Transport) {
    this.#fixed = credentials.token;
    this.#grant = credentials.grant;
    this.#transport = transport;
  }

  /** The tokens of the session, undefined without one. */
  get grant(): Grant | undefined {
    return this.#grant;
  }

  /** Whether a token that is too old can be replaced. */
  get renewable(): boolean {
    return this.#grant !== undefined;
  }

  /** Logs in with an e-mail address, phone number or username; from then on every call is the user's. */
  async logIn(identifier: string, password: string, device = ""): Promise<SessionMessage> {
    return await this.#guarded(async () => {
      const grant = await this.#client().createSession({ identifier, password, device });
      this.#keep(grant);
      return grant.session!;
    });
  }

  /** Ends the session, here and everywhere. One that has ended already is only forgotten. */
  async logOut(): Promise<void> {
    const grant = this.#grant;
    if (grant === undefined) {
      return;
    }
    const headers = { authorization: `Bearer ${await this.token()}` };
    await this.#guarded(() => this.#client().deleteSession({ name: "sessions/current" }, { headers }));
    this.#forget();
  }

  /** Returns a token to send, empty for nobody; renewed when it is due, or when `stale` is the newest there is. */
  async token(stale = ""): Promise<string> {
    if (this.#fixed !== undefined) {
      return await this.#fixed();
    }
    const grant = this.#grant;
    if (grant === undefined) {
      return "";
    }
    if (grant.accessToken !== stale && grant.accessTokenEnd - Date.now() > MARGIN_MS) {
      return grant.accessToken;
    }
    this.#renewal ??= this.#renew(grant).finally(() => (this.#renewal = undefined));
    return await this.#renewal;
  }

  async #renew(grant: Grant): Promise<string> {
    try {
      const fresh = await this.#guarded(() => this.#client().refreshSession({ refreshToken: grant.refreshToken }));
      return this.#keep(fresh).accessToken;
    } catch (error) {
      if (error instanceof CandelaError && ["SESSION_REVOKED", "REFRESH_TOKEN_REUSED"].includes(error.reason)) {
        this.#forget();
      }
      throw error;
    }
  }

  /** Calls for tokens go past the interceptors that need them. */
  #client() {
    return createClient(SessionService, this.#transport([]));
  }

  async #guarded<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (thrown) {
      throw CandelaError.from(thrown);
    }
  }

  #keep(grant: SessionGrant): Grant {
    this.#grant = {
      session: grant.session!.name,
      accessToken: grant.accessToken,
      accessTokenEnd: timestampMs(grant.accessTokenExpireTime!),
      refreshToken: grant.refreshToken,
    };
    this.onGrant?.(this.#grant);
    return this.#grant;
  }

  #forget(): void {
    this.#grant = undefined;
    this.onGrant?.(undefined);
  }
}
