<?php
// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

/**
 * The page behind the link in reminders. Needs no login and no cookies: mail programs post to it by themselves (RFC 8058).
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

define('NO_MOODLE_COOKIES', true);

// The plugin's folder may be a symbolic link, so that __DIR__ leads elsewhere.
// phpcs:ignore moodle.Files.RequireLogin.Missing
require_once(dirname($_SERVER['SCRIPT_FILENAME'], 4) . '/config.php');

use local_manireports\cloud\unsubscribing;

$token = optional_param('token', '', PARAM_RAW);
$url = new moodle_url('/local/manireports/ui/unsubscribe.php', unsubscribing::is_token($token) ? ['token' => $token] : []);
$PAGE->set_context(\core\context\system::instance());
$PAGE->set_url(new moodle_url('/local/manireports/ui/unsubscribe.php'));
$PAGE->set_pagelayout('login');
$PAGE->set_title(get_string('cloudunsubscribe', 'local_manireports'));
$PAGE->set_heading(format_string($SITE->fullname));
// The address holds the token: no other site learns of it.
header('Referrer-Policy: no-referrer');
header('X-Robots-Tag: noindex');

$state = 'ask';
if (!unsubscribing::is_token($token)) {
    $state = 'wrong';
} else if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $state = unsubscribing::ask($token, getremoteaddr('0.0.0.0')) ? 'done' : 'later';
}
if ($state === 'wrong' || $state === 'later') {
    http_response_code($state === 'wrong' ? 400 : 429);
}

echo $OUTPUT->header();
echo $OUTPUT->render_from_template('local_manireports/cloud_unsubscribe', [
    'text' => get_string("cloudunsubscribe_$state", 'local_manireports', format_string($SITE->fullname)),
    'ask' => $state === 'ask',
    'action' => $url->out(false),
]);
echo $OUTPUT->footer();
