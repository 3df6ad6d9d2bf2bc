/** What happens to every call on its way: who is calling, which key makes it safe to repeat, and how it fails. */

import { clone, type DescMessage, type DescMethod, type Message } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import { Code, type Interceptor, type StreamResponse, type UnaryRequest, type UnaryResponse } from "@connectrpc/connect";

import { CandelaError } from "./errors.js";
import { needsToken, type Session } from "./session.js";

const REQUEST_ID = "request_id";

/** When calls are sent again: only UNAVAILABLE ones, and only where a repeat does no more than the first. */
export interface Repeats {
  /** How many times a call is made at most. */
  attempts: number;
  /** The bound of the first pause in milliseconds; it doubles up to `longestPauseMs`. */
  firstPauseMs: number;
  longestPauseMs: number;
  /** Waits; for tests. */
  sleep: (milliseconds: number, signal: AbortSignal) => Promise<void>;
}

/** Turns everything that fails into a CandelaError that knows the call's key, also within a stream. */
export const errors: Interceptor = (next) => async (request) => {
  const key = () => (request.stream ? "" : keyOf(request.method.input, request.message));
  try {
    const response = await next(request);
    return response.stream ? { ...response, message: guarded(response) } : response;
  } catch (thrown) {
    const error = CandelaError.from(thrown);
    error.requestId ||= key();
    throw error;
  }
};

async function* guarded(response: StreamResponse): AsyncIterable<Message> {
  try {
    yield* response.message;
  } catch (thrown) {
    throw CandelaError.from(thrown);
  }
}

/** Gives calls without a timeout of their own this one; it covers all attempts together. */
export function defaultTimeout(milliseconds: number): Interceptor {
  return (next) => async (request) => {
    const isGrpc = request.header.get("content-type")?.startsWith("application/grpc");
    const header = isGrpc ? "grpc-timeout" : "connect-timeout-ms";
    if (request.stream || milliseconds <= 0 || request.header.has(header)) {
      return await next(request);
    }
    request.header.set(header, isGrpc ? `${milliseconds}m` : String(milliseconds)); // so that servers stop in time
    const going = new AbortController();
    const leave = () => going.abort(request.signal.reason);
    request.signal.addEventListener("abort", leave);
    const late = new Error("the call took longer than its timeout");
    const timer = setTimeout(() => going.abort(late), milliseconds);
    try {
      return await next({ ...request, signal: going.signal } as UnaryRequest);
    } catch (thrown) {
      throw going.signal.reason === late ? CandelaError.from(late, Code.DeadlineExceeded) : thrown;
    } finally {
      clearTimeout(timer);
      request.signal.removeEventListener("abort", leave);
    }
  };
}

/** Gives every mutation an idempotency key, the same in all attempts. The caller's message stays as it is. */
export const requestIds: Interceptor = (next) => async (request) => {
  if (request.stream || !takesKey(request.method.input) || keyOf(request.method.input, request.message) !== "") {
    return await next(request);
  }
  const message = clone(request.method.input, request.message);
  reflect(request.method.input, message).set(request.method.input.field["requestId"]!, crypto.randomUUID());
  return await next({ ...request, message } as UnaryRequest);
};

function takesKey(input: DescMessage): boolean {
  return input.field["requestId"]?.name === REQUEST_ID;
}

function keyOf(input: DescMessage, message: Message): string {
  return takesKey(input) ? String(reflect(input, message).get(input.field["requestId"]!)) : "";
}

/** Sends calls again that never arrived, as long as a repeat does no harm. */
export function retries(options: Partial<Repeats>): Interceptor {
  const { attempts = 5, firstPauseMs = 100, longestPauseMs = 2_000, sleep = pause } = options;
  return (next) => async (request) => {
    if (request.stream || !repeatable(request.method)) {
      return await next(request);
    }
    for (let attempt = 1; ; attempt++) {
      try {
        return (await next(request)) as UnaryResponse;
      } catch (thrown) {
        const error = CandelaError.from(thrown);
        if (error.code !== Code.Unavailable || attempt >= attempts) {
          throw error;
        }
        const bound = Math.min(longestPauseMs, firstPauseMs * 2 ** (attempt - 1));
        await sleep(Math.max(Math.random() * bound, error.retryAfterMs ?? 0), request.signal);
      }
    }
  };
}

function repeatable(method: DescMethod): boolean {
  return method.idempotency === Level.NO_SIDE_EFFECTS || method.idempotency === Level.IDEMPOTENT;
}

/** Says who is calling; a token that the server calls too old is renewed once. */
export function authentication(session: Session): Interceptor {
  return (next) => async (request) => {
    if (!needsToken(request.method)) {
      return await next(request);
    }
    const token = await session.token();
    if (token !== "") {
      request.header.set("authorization", `Bearer ${token}`);
    }
    try {
      return await next(request);
    } catch (thrown) {
      const error = CandelaError.from(thrown);
      if (request.stream || error.reason !== "TOKEN_EXPIRED" || !session.renewable) {
        throw error;
      }
      request.header.set("authorization", `Bearer ${await session.token(token)}`);
      return await next(request);
    }
  };
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
