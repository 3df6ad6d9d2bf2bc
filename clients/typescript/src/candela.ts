/** The client itself: one typed client a service over one transport. */

import { type Client, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { type ServiceMap, services } from "./gen/services.js";
import { authentication, defaultTimeout, errors, type Repeats, requestIds, retries } from "./interceptors.js";
import { type Credentials, type Grant, Session } from "./session.js";

/** Makes a transport. The default speaks gRPC-Web through `fetch`; `candela-client/node` has one for gRPC. */
export type TransportFactory = (options: { baseUrl: string; interceptors: Interceptor[] }) => Transport;

/** How to reach Candela, and as whom. */
export interface CandelaOptions {
  /** Where the edge is, such as `https://candela.example.com`. */
  baseUrl: string;
  /** An access token, or a function that gives one for each call. */
  token?: string | (() => string | Promise<string>);
  /** An API key (`ck_…`). */
  apiKey?: string;
  /** A session to go on with, as {@link Session.grant} gave it. */
  grant?: Grant;
  /** How calls travel; gRPC-Web by default. */
  transport?: TransportFactory;
  /** What every call may take in all, in milliseconds; 30,000 by default, 0 for no limit. Streams have none. */
  timeoutMs?: number;
  /** When calls are sent again; `{ attempts: 1 }` for never. */
  retry?: Partial<Repeats>;
  /** Your own interceptors; they see each call once, before it is repeated. */
  interceptors?: Interceptor[];
}

/** A client for every public service, by the service's name: `candela.user`, `candela.recognition`, `candela.apiKey`. */
export type Candela = { readonly [Name in keyof ServiceMap]: Client<ServiceMap[Name]> } & {
  /** Who calls: log in and out, and the tokens. */
  readonly auth: Session;
  /** What the clients call through, for `createClient` of Connect. */
  readonly transport: Transport;
};

/** Returns a client. Nothing is sent before the first call. */
export function createCandela(options: CandelaOptions): Candela {
  const make = options.transport ?? createGrpcWebTransport;
  const session = new Session(credentials(options), (interceptors) => make({ baseUrl: options.baseUrl, interceptors }));
  const interceptors = [
    requestIds, // before what tells of it
    errors,
    defaultTimeout(options.timeoutMs ?? 30_000),
    ...(options.interceptors ?? []),
    retries(options.retry ?? {}),
    authentication(session),
  ];
  const transport = make({ baseUrl: options.baseUrl, interceptors });
  const clients = Object.entries(services).map(([name, service]) => [name, createClient(service, transport)]);
  return Object.assign(Object.fromEntries(clients), { auth: session, transport }) as Candela;
}

function credentials(options: CandelaOptions): Credentials {
  const { token, apiKey, grant } = options;
  const given = [token, apiKey, grant].filter((one) => one !== undefined);
  if (given.length > 1) {
    throw new TypeError("give one of token, apiKey and grant");
  }
  if (grant !== undefined) {
    return { grant };
  }
  const fixed = token ?? apiKey;
  return fixed === undefined ? {} : { token: typeof fixed === "string" ? () => fixed : fixed };
}
