-- Passwords are checked by nginx, as mailcow's are. Whatever keeps its answer away counts as a wrong password.
local https = require "ssl.https"
local json = require "cjson"
local ltn12 = require "ltn12"

https.TIMEOUT = 30

local function ask_nginx(question)
  local body, answer = json.encode(question), {}
  local _, status = https.request {
    url = "https://nginx:9082",
    method = "POST",
    headers = { ["Content-Type"] = "application/json", ["Content-Length"] = #body },
    source = ltn12.source.string(body),
    sink = ltn12.sink.table(answer),
  }
  return status, table.concat(answer)
end

function auth_password_verify(request, password)
  local status, text = ask_nginx { username = request.user, password = password, service = request.service }
  if status ~= 200 and status ~= 401 then
    dovecot.i_info("nginx gives no answer: " .. tostring(status))
    return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, "Upstream error"
  end
  local understood, answer = pcall(json.decode, text)
  if understood and answer.success == true then
    return dovecot.auth.PASSDB_RESULT_OK, ""
  end
  return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, "Failed to authenticate"
end

function auth_passdb_lookup(request)
  return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN, ""
end
