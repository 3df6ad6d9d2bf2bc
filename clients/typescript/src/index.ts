/** Candela in TypeScript, for browsers and Node. Start with {@link createCandela}. */

export { type Candela, type CandelaOptions, type TransportFactory, createCandela } from "./candela.js";
export { CandelaError, type FieldViolation, fromStatus } from "./errors.js";
export { items, pages } from "./pagers.js";
export { EventStream, follow } from "./streams.js";
export { type Credentials, type Grant, Session } from "./session.js";
export { Code } from "@connectrpc/connect";
