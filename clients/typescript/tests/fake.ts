/** Candela's services as a test wants them, in this process. */

import { anyPack } from "@bufbuild/protobuf/wkt";
import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, createRouterTransport } from "@connectrpc/connect";

import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "../src/gen/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "../src/gen/google/rpc/status_pb.js";
import { type Candela, type CandelaOptions, createCandela } from "../src/index.js";

type Detail = { desc: DescMessage; value: MessageInitShape<DescMessage> };

/** Returns a client of services that live in this process. */
export function candelaOf(routes: (router: ConnectRouter) => void, options: Partial<CandelaOptions> = {}): Candela {
  return createCandela({
    baseUrl: "http://candela.test",
    transport: ({ interceptors }) => createRouterTransport(routes, { transport: { interceptors } }),
    ...options,
  });
}

/** Returns an error as a service of Candela answers with. */
export function refusal(code: Code, reason: string, more: Detail[] = []): ConnectError {
  const info = { desc: ErrorInfoSchema, value: { reason, domain: "candela.dev", metadata: { field: "email" } } };
  return new ConnectError("that was wrong", code, undefined, [info, ...more]);
}

/** What an error may say beside its reason. */
export const details: Record<"violation" | "retry" | "trace", Detail> = {
  violation: {
    desc: BadRequestSchema,
    value: { fieldViolations: [{ field: "password", description: "is too short", reason: "string.min_len" }] },
  },
  retry: { desc: RetryInfoSchema, value: { retryDelay: { seconds: 1n, nanos: 500_000_000 } } },
  trace: { desc: RequestInfoSchema, value: { requestId: "0123456789abcdef0123456789abcdef" } },
};

/** Returns a status as it stands in the last event of a stream. */
export function status(code: Code, reason: string): Status {
  const info = create(ErrorInfoSchema, { reason, domain: "candela.dev" });
  return create(StatusSchema, { code, message: "that was wrong", details: [anyPack(ErrorInfoSchema, info)] });
}
