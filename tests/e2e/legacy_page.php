<?php
/*
 * A customer's page as the keyword platform's guide tells to write it: every field by its name from $_REQUEST, and
 * empty where there is none. Runs under PHP's own server: php -S 127.0.0.1:PORT legacy_page.php
 *
 * What it reads is appended to the file that RECORD names, one JSON object a line. ANSWERS may name a file whose first
 * line says what to do next, once: a status, "error" (a fatal error), or "slow" (record, then never answer).
 */

const CALLBACK = ['title', 'code', 'shortcode', 'message', 'phone', 'carrier', 'keyword', 'group', 'custom_ticket', 'default_keyword'];
const CREDENTIALS = ['user_name', 'password', 'api_key'];
const STATUS = ['code', 'sendTo', 'status', 'ticket', 'custom_ticket'];

function field(string $name): string
{
    return !empty($_REQUEST[$name]) ? $_REQUEST[$name] : '';
}

function next_answer(): string
{
    $file = getenv('ANSWERS') ?: '';
    $answers = is_file($file) ? file($file, FILE_IGNORE_NEW_LINES | FILE_SKIP_EMPTY_LINES) : [];
    $answer = array_shift($answers) ?? '200';
    if ($file !== '') {
        file_put_contents($file, implode("\n", $answers));
    }
    return $answer;
}

$page = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$names = ['/callback.php' => [...CALLBACK, ...CREDENTIALS], '/status.php' => STATUS][$page] ?? null;
if ($names === null || $_SERVER['REQUEST_METHOD'] !== 'POST') {
    http_response_code(404);
    return true;
}

$answer = next_answer();
$line = json_encode([
    'page' => $page,
    'fields' => array_combine($names, array_map('field', $names)),
    'names' => array_keys($_POST),
    'query' => $_GET,
    'headers' => array_change_key_case(getallheaders()),
    'protocol' => $_SERVER['SERVER_PROTOCOL'],
    'raw' => base64_encode(file_get_contents('php://input')),
    'answer' => $answer,
], JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR);
file_put_contents(getenv('RECORD'), $line . "\n", FILE_APPEND | LOCK_EX);

if ($answer === 'error') {
    // With display_errors on, as on many an old host, PHP says 200 to this.
    no_such_function();
}
if ($answer === 'slow') {
    sleep(600);
}
http_response_code((int) $answer);
echo 'OK';
return true;
