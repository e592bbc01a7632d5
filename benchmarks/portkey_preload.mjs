// Loaded before Portkey's gateway, which is otherwise as npm ships it.
//
// It adds headers to fetch's own response, which are immutable, so that every stream ends in a 500 on current Node;
// here streams get a response whose headers may change. And it listens on every address; here only on loopback.

import { Server } from "node:net";

const fetchAsShipped = globalThis.fetch;
globalThis.fetch = async (...request) => {
  const response = await fetchAsShipped(...request);
  const streams = response.headers.get("content-type")?.startsWith("text/event-stream");
  return streams ? new Response(response.body, response) : response;
};

const listenAsShipped = Server.prototype.listen;
Server.prototype.listen = function (port, _host, ...rest) {
  return listenAsShipped.call(this, port, "127.0.0.1", ...rest);
};
