-- Gives every error its one shape. Runs on the answer, after the transcoder, the token check and the router.
--
--   JSON:      {"error":{"code":404,"status":"NOT_FOUND","message":"…","details":[…]}}
--   /openai/:  {"error":{"message":"…","type":"invalid_request_error","param":null,"code":"not_found"}}
--   gRPC:      Envoy's own replies get the right grpc-status and a google.rpc.Status in grpc-status-details-bin, and
--              so do bare statuses, such as those of gRPC's own machinery; what services say is left alone.
--
-- Envoy's own replies carry its reason in the header candela-reply (local_replies.py). Good answers return from the
-- first lines: nothing here may cost them anything.

local DOMAIN = "candela.dev"
local TYPES = "type.googleapis.com/google.rpc."
local RETRY_SECONDS = 1

local NAMES = {
  [0] = "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
  "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}
-- The reason of a service's error that gives none, by its gRPC code.
local REASONS = {
  "CANCELLED", "INTERNAL", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
  "PERMISSION_DENIED", "RATE_LIMITED", "FAILED_PRECONDITION", "CONFLICT", "INVALID_ARGUMENT", "UNIMPLEMENTED",
  "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "TOKEN_INVALID",
}
-- Where the HTTP status does not follow from the gRPC code.
local HTTP_BY_REASON = { REQUEST_TOO_LARGE = "413", METHOD_NOT_ALLOWED = "405" }
local OPENAI_HTTP_BY_REASON = { CREDITS_INSUFFICIENT = "402" }
local OPENAI_TYPES = {
  ["401"] = "authentication_error", ["402"] = "insufficient_quota", ["403"] = "permission_error",
  ["429"] = "rate_limit_error",
}

-- Envoy's own replies by what its response code details begin with; the first that fits counts. `http` is the status
-- the reply must have had, `answer` the one it gets.
local REPLIES = {
  { details = "jwt_authn_access_denied{Jwt_is_missing}", code = 16, reason = "TOKEN_MISSING",
    message = "a token or an API key is needed in the header authorization, after the word Bearer" },
  { details = "jwt_authn_access_denied{Jwt_is_expired}", code = 16, reason = "TOKEN_EXPIRED",
    message = "the token has expired; refresh it" },
  -- Envoy says 403 for a wrong audience: still it is not known who calls.
  { details = "jwt_authn_access_denied", code = 16, reason = "TOKEN_INVALID", message = "the token does not hold",
    answer = "401" },
  { details = "direct_response", http = "404", code = 5, grpc = 12, reason = "PATH_NOT_FOUND",
    message = "no method has this path" },
  { details = "direct_response", http = "405", code = 12, reason = "METHOD_NOT_ALLOWED",
    message = "this path does not have this verb" },
  { details = "", http = "413", code = 8, reason = "REQUEST_TOO_LARGE", message = "the request is too large" },
  { details = "early_grpc_json_transcode_failure", http = "404", code = 5, reason = "PATH_NOT_FOUND",
    message = "no method has this path" },
  { details = "early_grpc_json_transcode_failure", http = "400", code = 3, reason = "INVALID_ARGUMENT",
    message = "a value in the path or query is wrong" },
  { details = "grpc_json_transcode_failure", http = "400", code = 3, reason = "MALFORMED_BODY",
    message = "the body does not fit the method's request" },
  { details = "response_timeout", code = 4, reason = "DEADLINE_EXCEEDED", answer = "504",
    message = "the service did not answer in time" },
  { details = "upstream_response_timeout", code = 4, reason = "DEADLINE_EXCEEDED", answer = "504",
    message = "the service did not answer in time" },
  { details = "upstream_max_stream_duration", code = 4, reason = "DEADLINE_EXCEEDED", answer = "504",
    message = "the call took too long" },
  { details = "max_duration_timeout", code = 4, reason = "DEADLINE_EXCEEDED", answer = "504",
    message = "the call took too long" },
  { details = "", http = "504", code = 4, reason = "DEADLINE_EXCEEDED", message = "the service did not answer in time" },
  { details = "", http = "408", code = 4, reason = "DEADLINE_EXCEEDED", message = "the request did not arrive in time" },
  { details = "overload", code = 14, reason = "UNAVAILABLE", answer = "503", retry = true,
    message = "the gateway is overloaded; try again" },
  { details = "", http = "503", code = 14, reason = "UNAVAILABLE", retry = true,
    message = "the service is not available; try again" },
  { details = "", http = "502", code = 14, reason = "UNAVAILABLE", answer = "503", retry = true,
    message = "the service is not available; try again" },
  { details = "", http = "426", code = 12, reason = "UNIMPLEMENTED", message = "HTTP/1.1 or HTTP/2 is needed" },
  { details = "", http = "431", code = 8, reason = "REQUEST_TOO_LARGE",
    message = "the request's headers are too large or too many" },
  { details = "", http = "400", code = 3, reason = "INVALID_ARGUMENT", message = "the request is no valid HTTP, or its path is not acceptable" },
  { details = "", code = 13, reason = "INTERNAL", message = "the gateway could not answer" },
}

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function quote(text)
  local escaped = text:gsub('[%c"\\]', function(char)
    return ESCAPES[char] or string.format("\\u%04x", char:byte())
  end)
  return '"' .. escaped .. '"'
end

local function unquote(json)
  return (json:sub(2, -2):gsub("\\n", "\n"):gsub('\\(["\\/])', "%1"))
end

local function percent_decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function percent_encode(text)
  return (text:gsub("[^ -$&-~]", function(char) return string.format("%%%02X", char:byte()) end))
end

-- A map as a list of pairs in the order of its keys: the same answer for the same cause.
local function sorted(map)
  local pairs_of = {}
  for key, value in pairs(map) do pairs_of[#pairs_of + 1] = { key, value } end
  table.sort(pairs_of, function(a, b) return a[1] < b[1] end)
  return pairs_of
end

local function info_json(reason, metadata)
  local entries = {}
  for i, pair in ipairs(sorted(metadata)) do entries[i] = quote(pair[1]) .. ":" .. quote(pair[2]) end
  return '{"@type":"' .. TYPES .. 'ErrorInfo","reason":"' .. reason .. '","domain":"' .. DOMAIN .. '","metadata":{'
    .. table.concat(entries, ",") .. "}}"
end

local function retry_json()
  return '{"@type":"' .. TYPES .. 'RetryInfo","retryDelay":"' .. RETRY_SECONDS .. 's"}'
end

-- Protobuf's wire format, as far as a google.rpc.Status needs it.
local function varint(number)
  local bytes = {}
  while number >= 128 do
    bytes[#bytes + 1] = string.char(number % 128 + 128)
    number = math.floor(number / 128)
  end
  bytes[#bytes + 1] = string.char(number)
  return table.concat(bytes)
end

local function field(number, bytes)
  return string.char(number * 8 + 2) .. varint(#bytes) .. bytes
end

local function any(name, bytes)
  return field(3, field(1, TYPES .. name) .. field(2, bytes))
end

local function status_bytes(own)
  local info = field(1, own.reason) .. field(2, DOMAIN)
  for _, pair in ipairs(sorted(own.metadata)) do
    info = info .. field(3, field(1, pair[1]) .. field(2, pair[2]))
  end
  local bytes = "\8" .. varint(own.code) .. field(2, own.message) .. any("ErrorInfo", info)
  if own.retry then bytes = bytes .. any("RetryInfo", field(1, "\8" .. varint(RETRY_SECONDS))) end
  return bytes
end

-- Returns what is wrong, from the reason and the text that Envoy gave for its own reply.
local function own_error(handle, headers, reply, http, text)
  local rule
  for _, candidate in ipairs(REPLIES) do
    if reply:sub(1, #candidate.details) == candidate.details and (candidate.http or http) == http then
      rule = candidate
      break
    end
  end
  local own = { code = rule.code, reason = rule.reason, message = rule.message, retry = rule.retry, metadata = {},
    http = rule.answer or http, grpc = rule.grpc or rule.code }
  local parameter = text:match('^Could not find field "(.-)" in the type')
  if own.reason == "INVALID_ARGUMENT" and parameter then
    own.reason = "UNKNOWN_QUERY_PARAMETER"
    own.message = 'the method has no parameter "' .. parameter .. '"'
    own.metadata.parameter = parameter
  elseif own.reason == "MALFORMED_BODY" and text ~= "" then
    own.message = own.message .. ": " .. text:match("^[^\n]*"):sub(1, 240)
  elseif own.reason == "METHOD_NOT_ALLOWED" then
    own.metadata.allow = headers:get("allow")
  elseif own.reason == "REQUEST_TOO_LARGE" and http == "413" then
    own.metadata.limit_bytes = handle:filterContext():get("limit_bytes")
  end
  return own
end

-- Takes the text of Envoy's own reply out of the JSON that local_replies.py made of it.
local function text_of(body)
  return unquote(body:match('"metadata":{"gateway":(".*")},"reason"') or '""')
end

-- Returns the reason of a status without our ErrorInfo, and what of its text may be read: it is no text of ours.
local function bare(code, message)
  if code == 8 and message:find("larger than max", 1, true) then return "REQUEST_TOO_LARGE", message end
  local reason = REASONS[code] or "INTERNAL"
  return reason, reason == "INTERNAL" and "internal error" or message
end

-- Returns code, message and details (both as JSON) of an error that a service gave and the transcoder wrote down.
local function service_error(headers, body)
  local code, message, details = body:match('^{"code":(%d+),"message":(".-"),"details":(%[.*%])}$')
  details = details or "[]"
  code = tonumber(code or headers:get("grpc-status") or "2")
  local reason = details:match('google%.rpc%.ErrorInfo","reason":"([A-Z_]+)"')
  if not reason then
    local text = message and unquote(message) or percent_decode(headers:get("grpc-message") or "")
    local shown
    reason, shown = bare(code, text)
    if not message or shown ~= text then message = quote(shown) end
    details = "[" .. info_json(reason, {}) .. (details == "[]" and "]" or "," .. details:sub(2))
  end
  return code, message, details, reason
end

local function openai_json(http, message, details, reason)
  local kind = OPENAI_TYPES[http] or (tonumber(http) < 500 and "invalid_request_error" or "server_error")
  if reason == "QUOTA_EXCEEDED" then kind = "insufficient_quota" end
  local param = details:match('"fieldViolations":%[{"field":("[^"]*")') or "null"
  return '{"error":{"message":' .. message .. ',"type":"' .. kind .. '","param":' .. param .. ',"code":"'
    .. reason:lower() .. '"}}'
end

-- Says how to sign in (RFC 6750); Envoy's own challenge would repeat host and path.
local function challenge(headers, reason)
  local why = reason == "TOKEN_MISSING" and "" or ', error="invalid_token"'
  headers:replace("www-authenticate", 'Bearer realm="candela"' .. why)
end

local function shape_json(handle, reply, http)
  local buffer = handle:body(true)
  local headers = handle:headers() -- waiting for the body made the one from before void
  local body = buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or ""
  local code, message, details, reason
  if reply then
    local own = own_error(handle, headers, reply, http, text_of(body))
    code, message, reason, http = own.code, quote(own.message), own.reason, own.http
    details = "[" .. info_json(reason, own.metadata) .. (own.retry and "," .. retry_json() or "") .. "]"
  else
    code, message, details, reason = service_error(headers, body)
    http = HTTP_BY_REASON[reason] or http
  end
  if handle:filterContext():get("shape") == "openai" then
    http = OPENAI_HTTP_BY_REASON[reason] or http
    body = openai_json(http, message, details, reason)
  else
    body = '{"error":{"code":' .. http .. ',"status":"' .. NAMES[code] .. '","message":' .. message .. ',"details":'
      .. details .. "}}"
  end
  headers:replace(":status", http)
  headers:replace("content-type", "application/json")
  headers:replace("grpc-status", tostring(code)) -- for the access log; a good answer has it, too
  headers:remove("grpc-message")
  headers:remove("grpc-status-details-bin")
  local delay = details:match('"retryDelay":"([%d.]+)s"')
  if delay then headers:replace("retry-after", tostring(math.ceil(tonumber(delay)))) end
  if http == "401" then challenge(headers, reason) end
  -- The CORS filter leaves routes without a cluster alone; what they say is the same for everybody.
  if reply and reply:sub(1, 15) == "direct_response" then headers:replace("access-control-allow-origin", "*") end
  buffer:setBytes(body)
end

local function shape_grpc(handle, headers, reply, http)
  local text = percent_decode(headers:get("grpc-message") or "")
  local own
  if reply then
    own = own_error(handle, headers, reply, http, text)
    own.code = own.grpc
  else
    own = { code = tonumber(headers:get("grpc-status")) or 2, metadata = {} }
    own.reason, own.message = bare(own.code, text)
  end
  headers:replace(":status", "200") -- gRPC-Web clients read the grpc-status only then
  if own.code == 16 then challenge(headers, own.reason) end
  headers:replace("grpc-status", tostring(own.code))
  headers:replace("grpc-message", percent_encode(own.message))
  headers:replace("grpc-status-details-bin", handle:base64Escape(status_bytes(own)))
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local reply = headers:get("candela-reply")
  local http = headers:get(":status")
  if not reply then
    if http < "400" then
      local status = headers:get("grpc-status")
      if status and status ~= "0" and not headers:get("grpc-status-details-bin") then
        shape_grpc(handle, headers, nil, http)
      end
      return
    end
    return shape_json(handle, nil, http)
  end
  headers:remove("candela-reply")
  http = reply:match("^(%d+) ") or http
  reply = reply:match("^%d+ (.*)$") or reply
  if headers:get("grpc-status") then return shape_grpc(handle, headers, reply, http) end
  shape_json(handle, reply, http)
end
