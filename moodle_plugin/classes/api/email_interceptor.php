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

namespace local_manireports\api;

use local_manireports\cloud\notice;
use local_manireports\cloud\operations;

/**
 * Notes that bulk mail is being queued: by whom, for which company, and when it is over.
 *
 * It intercepts nothing in the way of Moodle: the mail goes into Moodle's own queue, and the sidecar, which reads the
 * note, takes it from there or leaves it to cron.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class email_interceptor {
    /** @var string type of the jobs that mail new users */
    public const NEW_USERS = 'csv_import';

    /** @var string[] scripts in which Moodle's own tasks run */
    private const CRON = ['cron.php', 'scheduled_task.php', 'adhoc_task.php'];

    /** @var array [who is at work, their company], to look it up once a request */
    private static array $company = ['', 0];

    /** @var bool whether it failed in this request: then it is left alone */
    private static bool $failed = false;

    /**
     * Runs an observer; whatever it throws is logged, and nothing more is noted in this request.
     *
     * @param callable $observer
     */
    public static function guarded(callable $observer): void {
        if (self::$failed || during_initial_install()) {
            return;
        }
        try {
            $observer();
        } catch (\Throwable $trouble) {
            self::$failed = true;
            // phpcs:ignore moodle.PHP.ForbiddenFunctions.FoundWithAlternative -- the action must not see it.
            error_log('local_manireports: a bulk operation could not be noted: ' . $trouble->getMessage());
        }
    }

    /**
     * A user was created, and probably a mail follows.
     *
     * @param \core\event\base $event
     */
    public static function user_created(\core\event\base $event): void {
        self::note(self::NEW_USERS, self::current_company(), (int)$event->objectid);
    }

    /**
     * All recipients of a campaign are queued: an operation that is over when it is heard of.
     *
     * @param \core\event\base $event
     */
    public static function campaign_triggered(\core\event\base $event): void {
        $other = $event->other;
        operations::note_whole($other['type'], (int)$other['companyid'], (int)$event->userid, (int)$other['count']);
    }

    /**
     * One more mail of a running operation is being queued by the current user.
     *
     * @param string $type job type
     * @param int $companyid 0 for none
     * @param int $touserid whom the mail is for
     */
    public static function note(string $type, int $companyid, int $touserid): void {
        $userid = self::acting_user();
        $begins = !operations::knows($type, $companyid, $userid);
        $operation = operations::note($type, $companyid, $userid);
        if ($begins) {
            notice::begin($operation, $touserid);
        } else {
            notice::grow($operation);
        }
    }

    /**
     * Who does it: the current user, in a command line script too; 0 for cron itself.
     */
    private static function acting_user(): int {
        global $USER;
        $userid = (int)($USER->id ?? 0);
        if (CLI_SCRIPT) {
            $script = basename($_SERVER['SCRIPT_FILENAME'] ?? '');
            if (in_array($script, self::CRON, true) && is_siteadmin($userid)) {
                return 0;
            }
        }
        return $userid;
    }

    /**
     * The company for which IOMAD queues the current user's mail; 0 for none.
     */
    private static function current_company(): int {
        global $SESSION, $USER;
        $who = ($SESSION->currenteditingcompany ?? '') . '/' . ($USER->id ?? 0);
        if (self::$company[0] !== $who) {
            self::$company = [$who, self::look_up_company()];
        }
        return self::$company[1];
    }

    /**
     * What iomad::get_my_companyid() would say, without its side effects on the session.
     */
    private static function look_up_company(): int {
        global $DB, $SESSION, $USER;
        if (!\local_manireports\cloud\access::is_iomad()) {
            return 0;
        }
        if (!empty($SESSION->currenteditingcompany)) {
            return (int)$SESSION->currenteditingcompany;
        }
        $memberships = $DB->get_records('company_users', ['userid' => (int)$USER->id], 'id', 'id, companyid', 0, 1);
        return $memberships ? (int)reset($memberships)->companyid : 0;
    }
}
