/** Errors as callers meet them: Connect's own, with what Candela says about them. */

import { Code, ConnectError } from "@connectrpc/connect";

import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";
import type { Status } from "./gen/google/rpc/status_pb.js";

const DOMAIN = "candela.dev";
const TRACE = "candela-trace-id";

/** One wrong field: its path in the request, what is wrong, and the rule that it breaks. */
export interface FieldViolation {
  field: string;
  description: string;
  rule: string;
}

/**
 * A call that failed. It is a `ConnectError`, so `code` and `rawMessage` are there as well.
 *
 * `reason` is a value of `candela.error.v1.ErrorReason` without its prefix. It is empty when the answer does not come
 * from Candela, as when nothing can be reached.
 */
export class CandelaError extends ConnectError {
  readonly reason: string;
  /** The parts of the message that vary. */
  readonly info: Readonly<Record<string, string>>;
  readonly violations: readonly FieldViolation[];
  /** When to try again, in milliseconds; undefined when waiting does not help. */
  readonly retryAfterMs: number | undefined;
  /** Finds the call in Candela's traces; empty when it did not get there. */
  readonly traceId: string;
  /** The idempotency key that the call was made with; empty when it takes none. */
  requestId = "";

  constructor(source: ConnectError) {
    super(source.rawMessage, source.code, source.metadata, undefined, source.cause);
    this.details = source.details;
    const info = source.findDetails(ErrorInfoSchema).find((one) => one.domain === DOMAIN);
    const delay = source.findDetails(RetryInfoSchema)[0]?.retryDelay;
    this.reason = info?.reason ?? "";
    this.info = info?.metadata ?? {};
    this.violations = source
      .findDetails(BadRequestSchema)
      .flatMap((bad) => bad.fieldViolations)
      .map((one) => ({ field: one.field, description: one.description, rule: one.reason }));
    this.retryAfterMs = delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
    this.traceId = source.findDetails(RequestInfoSchema)[0]?.requestId || (source.metadata.get(TRACE) ?? "");
  }

  /** Connect tells its errors by their shape and name, which these share; this tells them by their class. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === "object" && value !== null && CandelaError.prototype.isPrototypeOf(value);
  }

  /** Returns whatever was thrown as a CandelaError; one that is already there as it is. */
  static override from(thrown: unknown, code = Code.Unknown): CandelaError {
    return thrown instanceof CandelaError ? thrown : new CandelaError(ConnectError.from(thrown, code));
  }
}

/** Returns the error that a status within a message tells of: the last event of a stream, or an item of a batch. */
export function fromStatus(status: Status): CandelaError {
  const source = new ConnectError(status.message, status.code);
  source.details = status.details.map((detail) => ({
    type: detail.typeUrl.slice(detail.typeUrl.lastIndexOf("/") + 1),
    value: detail.value,
  }));
  return new CandelaError(source);
}
