<?php
// Logs users in with the passwords that they were mailed, as Moodle's login page does.
//
//     php logins.php MOODLE_DIR < mailed.json
//
// mailed: {"username": "password", …}. Prints JSON: how many could log in, and how many of these are
// then asked to change the password.

define('CLI_SCRIPT', true);
require($argv[1] . '/config.php');

$mailed = json_decode(stream_get_contents(STDIN), true, 512, JSON_THROW_ON_ERROR);
$in = $forced = 0;
foreach ($mailed as $username => $password) {
    $user = authenticate_user_login($username, $password);
    if ($user) {
        $in++;
        $forced += get_user_preferences('auth_forcepasswordchange', 0, $user) == 1;
    }
}
echo json_encode(['in' => $in, 'forced' => $forced]), "\n";
