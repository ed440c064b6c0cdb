<?php
/*
 * An application that sends by the platform's web service, as its guide tells to: PHP's SoapClient, plain arrays.
 * php send.php HOW WSDL TEXT CUSTOM_TICKET STATUS_URL PHONE…
 * HOW is wsdl, or plain (without the WSDL, arguments by their order alone). Prints what it was answered.
 */

[, $how, $wsdl, $text, $custom_ticket, $status_url] = $argv;
$auth = [
    'username' => 'acme-user',
    'password' => 'password & <more>',
    'api_key' => 'key-é',
    'code' => '12345',
    'keyword' => 'JOIN',
];
$recipients = [];
foreach (array_slice($argv, 6) as $phone) {
    $recipients[] = ['sendTo' => $phone, 'type' => 1];
}

$client = $how === 'wsdl'
    ? new SoapClient($wsdl, ['cache_wsdl' => WSDL_CACHE_NONE])
    : new SoapClient(null, ['location' => strtok($wsdl, '?'), 'uri' => 'http://platform.example/webservices']);

function row(object $row): void
{
    echo 'row=', implode(' ', [$row->sendTo, $row->status_code, $row->status_message, var_export($row->result, true)]), "\n";
}

$sent = $client->sendMessage($auth, $text, ['recipients' => $recipients], $custom_ticket, $status_url);
foreach (['result', 'error_code', 'message', 'custom_ticket', 'ticket'] as $name) {
    echo $name, '=', is_bool($sent->$name) ? var_export($sent->$name, true) : $sent->$name, "\n";
}
$known = $client->getTransactionStatus($auth, $sent->ticket, '');
array_map('row', is_array($known->recipients) ? $known->recipients : [$known->recipients]);

$refused = $client->sendMessage($auth, ' ', ['recipients' => $recipients], '', '');
echo 'refused=', var_export($refused->result, true), ' ', $refused->error_code, "\n";
try {
    // More of them than anybody looks at.
    $client->sendMessage($auth, $text, ['recipients' => array_fill(0, 12000, ['sendTo' => '1'])], '', '');
} catch (SoapFault $fault) {
    echo 'fault=', $fault->faultcode, "\n";
}
