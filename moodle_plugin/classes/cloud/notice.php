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

namespace local_manireports\cloud;

use core\output\notification;
use local_manireports\api\email_interceptor;
use local_manireports\api\license_allocation_handler;

/**
 * After a bulk operation its admin is told who will send the mail: the sidecar, or Moodle's cron.
 *
 * What was queued is remembered in the session and counted in Moodle's queues when the next page, or this one, shows it.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class notice {
    /** @var string where the session remembers operations: id => what begin() makes */
    private const NAME = 'local_manireports_operations';

    /** @var string[] IOMAD's template of each type */
    private const TEMPLATES = [
        email_interceptor::NEW_USERS => 'user_create',
        license_allocation_handler::TYPE => 'license_allocated',
    ];

    /** @var int mails that make a bulk where no settings say it */
    private const THRESHOLD = 10;

    /** @var \stdClass[] what this request's operations would be remembered by, by id */
    private static array $begun = [];

    /**
     * An operation begins: remember how far Moodle's queues are.
     *
     * @param \stdClass $operation as operations::note() gives it
     * @param int $touserid whom its first mail is for
     */
    public static function begin(\stdClass $operation, int $touserid): void {
        global $DB;
        if (!self::somebody_looks()) {
            return;
        }
        $emails = access::is_iomad() ? (int)$DB->get_field_sql('SELECT MAX(id) FROM {email}') : 0;
        $wanted = ['userid' => $touserid, 'name' => 'create_password'];
        // Core wishes for a password before it tells of the user, IOMAD afterwards.
        $preference = $operation->type === email_interceptor::NEW_USERS
            ? (int)$DB->get_field('user_preferences', 'id', $wanted) - 1 : -1;
        self::$begun[$operation->id] = (object)[
            'type' => $operation->type,
            'companyid' => $operation->company_id,
            'since' => $operation->first_at,
            'emails' => $emails,
            'preferences' => $preference,
        ];
    }

    /**
     * An operation goes on; from its second mail on the admin will be told.
     *
     * @param \stdClass $operation as operations::note() gives it
     */
    public static function grow(\stdClass $operation): void {
        global $SESSION;
        if (isset(self::$begun[$operation->id]) && isset($SESSION)) {
            $SESSION->{self::NAME}[$operation->id] ??= self::$begun[$operation->id];
            $SESSION->{self::NAME}[$operation->id]->count = $operation->count;
        }
    }

    /**
     * Tells of what was queued, once; called where a page begins and where it ends. Costs nothing if there is nothing.
     */
    public static function show(): void {
        global $SESSION;
        if (empty($SESSION->{self::NAME})) {
            return;
        }
        $begun = $SESSION->{self::NAME};
        unset($SESSION->{self::NAME});
        email_interceptor::guarded(function () use ($begun) {
            foreach ($begun as $operation) {
                if (access::can(access::VIEW, $operation->companyid)) {
                    self::tell($operation);
                }
            }
        });
    }

    /**
     * Whether a person is at work who will see a page.
     */
    private static function somebody_looks(): bool {
        return !CLI_SCRIPT && !WS_SERVER && !(defined('NO_MOODLE_COOKIES') && NO_MOODLE_COOKIES)
            && isloggedin() && !isguestuser();
    }

    /**
     * Tells of one operation, if it queued more than one mail.
     *
     * @param \stdClass $operation as begin() makes it, with count
     */
    private static function tell(\stdClass $operation): void {
        $count = min($operation->count, self::queued($operation));
        if ($count < 2) {
            return;
        }
        if (!self::taken_over($operation->companyid, $count)) {
            \core\notification::add(get_string('cloudqueuedforcron', 'local_manireports', $count), notification::NOTIFY_INFO);
            return;
        }
        $job = self::job($operation);
        $url = $job
            ? new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $job])
            : new \moodle_url('/local/manireports/ui/cloud_jobs.php');
        $link = \html_writer::link($url, get_string($job ? 'cloudqueuedjob' : 'cloudqueuedjobs', 'local_manireports'));
        $text = get_string('cloudqueued', 'local_manireports', $count) . ' ' . $link;
        \core\notification::add($text, notification::NOTIFY_SUCCESS);
    }

    /**
     * How many mails of an operation were put into Moodle's queues, whoever has them now.
     *
     * @param \stdClass $operation as begin() makes it
     */
    private static function queued(\stdClass $operation): int {
        global $DB;
        $number = 0;
        if (access::is_iomad()) {
            $number += $DB->count_records_select(
                'email',
                'id > :id AND templatename = :template AND companyid = :companyid',
                [
                    'id' => $operation->emails,
                    'template' => self::TEMPLATES[$operation->type] ?? '',
                    'companyid' => $operation->companyid,
                ]
            );
        }
        if ($operation->preferences >= 0) {
            $number += $DB->count_records_select(
                'user_preferences',
                'id > :id AND name = :name',
                ['id' => $operation->preferences, 'name' => 'create_password']
            );
            $number += $DB->count_records_select(
                'manireports_cloud_recipients',
                'source = :source AND source_id > :id',
                ['source' => 'new_users', 'id' => $operation->preferences]
            );
        }
        return $number;
    }

    /**
     * Whether the sidecar takes so many mails of a company.
     *
     * @param int $companyid 0 for none
     * @param int $count
     */
    private static function taken_over(int $companyid, int $count): bool {
        global $DB;
        $rows = $DB->get_records_list(
            'manireports_cloud_company_settings',
            'company_id',
            [0, $companyid],
            '',
            'company_id, enabled, bulk_threshold'
        );
        if (empty($rows[$companyid]->enabled)) {
            return false;
        }
        $threshold = $rows[$companyid]->bulk_threshold ?? $rows[0]->bulk_threshold ?? self::THRESHOLD;
        $sidecar = new sidecar();
        return $count >= (int)$threshold && $sidecar->alive() && empty($sidecar->state()->blocked);
    }

    /**
     * The job that an operation's mail has joined; 0 if there is none yet.
     *
     * @param \stdClass $operation as begin() makes it
     */
    private static function job(\stdClass $operation): int {
        global $DB;
        $jobs = $DB->get_records_select(
            'manireports_cloud_jobs',
            'company_id = :companyid AND type = :type AND parent_job_id IS NULL'
                . ' AND (closed_at IS NULL OR closed_at >= :since)',
            ['companyid' => $operation->companyid, 'type' => $operation->type, 'since' => $operation->since],
            'id DESC',
            'id',
            0,
            1
        );
        return $jobs ? (int)reset($jobs)->id : 0;
    }
}
