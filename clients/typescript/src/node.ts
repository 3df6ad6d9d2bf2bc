/** gRPC over HTTP/2, which browsers cannot speak. It needs the package `@connectrpc/connect-node`. */

import { createGrpcTransport } from "@connectrpc/connect-node";

import type { TransportFactory } from "./candela.js";

/** The transport for `createCandela({ …, transport: grpc })` in Node. */
export const grpc: TransportFactory = (options) => createGrpcTransport(options);
