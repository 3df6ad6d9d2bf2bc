/** Lists as one asks for them: item by item, the next page fetched when it is needed. */

import type { CallOptions } from "@connectrpc/connect";

interface PageRequest {
  pageToken?: string;
}
interface Page {
  nextPageToken: string;
}
type List<Request, Reply> = (request: Request, options?: CallOptions) => Promise<Reply>;
type ItemOf<Reply> = { [Key in keyof Reply]-?: Reply[Key] extends (infer Item)[] ? Item : never }[keyof Reply];

/** Yields the pages of a list: `for await (const page of pages(candela.session.listSessions, {}))`. */
export async function* pages<Request extends PageRequest, Reply extends Page>(
  list: List<Request, Reply>,
  request: Request,
  options?: CallOptions,
): AsyncGenerator<Reply, void, undefined> {
  let pageToken = request.pageToken ?? "";
  do {
    const page = await list({ ...request, pageToken }, options);
    yield page;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

/** Yields the items of a list, whatever its reply calls them. */
export async function* items<Request extends PageRequest, Reply extends Page>(
  list: List<Request, Reply>,
  request: Request,
  options?: CallOptions,
): AsyncGenerator<ItemOf<Reply>, void, undefined> {
  for await (const page of pages(list, request, options)) {
    const found = Object.values(page).find(Array.isArray) as ItemOf<Reply>[] | undefined;
    yield* found ?? [];
  }
}
