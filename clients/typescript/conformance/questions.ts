/** What the conformance suite asks and what it is told, one JSON object a line each. */

/** One call. `door` says through which client; the request is ProtoJSON. */
export interface Question {
  id: number;
  door: "connect-grpc" | "connect-web" | "grpc-js";
  method: string;
  request: Record<string, unknown>;
  token: string;
  cancelAfter: number | null;
}

/** An error as the client shows it. */
export interface Failure {
  code: string;
  message: string;
  reason: string;
  domain: string;
  metadata: Record<string, string>;
  violations: { field: string; rule: string; description: string }[];
  retry: boolean;
  trace: string;
}

/** What came back: messages as ProtoJSON, an `error` event among them as a Failure. `strange` is not in the contract. */
export interface Answer {
  messages: unknown[];
  failure: Failure | null;
  trace: string | null;
  strange: string[];
}

/** The names of gRPC's codes by their numbers. */
export const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];

export const TRACE = "candela-trace-id";
