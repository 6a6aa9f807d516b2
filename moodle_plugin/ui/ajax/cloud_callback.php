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
 * Takes the reports of workers: POST of a signed result; answers by the status alone.
 *
 * 202 stored; 200 seen before; 400 malformed; 401 bad signature, or a time more than 300 s off; 405 no POST;
 * 413 more than 1 MiB; 503 maintenance, or it could not be stored. The caller needs no account and gets no session.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

// phpcs:disable moodle.Files.MoodleInternal -- what is plainly wrong is refused before Moodle and its database wake up.
require_once(__DIR__ . '/../../classes/cloud/callback.php');

use local_manireports\cloud\callback;
use local_manireports\cloud\callback_store;

// Until the report is stored the answer is no, whatever ends this script.
http_response_code(callback::UNAVAILABLE);
ini_set('display_errors', '0');

$early = callback::refuse_early($_SERVER);
if ($early) {
    http_response_code($early);
    if ($early === callback::NO_POST) {
        header('Allow: POST');
    }
    header('Cache-Control: no-store');
    header('Content-Length: 0');
    exit;
}

define('NO_MOODLE_COOKIES', true);
define('NO_DEBUG_DISPLAY', true);
define('NO_UPGRADE_CHECK', true);
define('AJAX_SCRIPT', true);
// phpcs:ignore moodle.Files.RequireLogin.Missing -- the signature is the login.
require_once(dirname($_SERVER['SCRIPT_FILENAME'], 5) . '/config.php');

header_remove('Content-Type');
$store = new callback_store();
http_response_code((new callback($store))->answer($_SERVER, fopen('php://input', 'rb'), time()));
header('Cache-Control: no-store');
header('Content-Length: 0');
