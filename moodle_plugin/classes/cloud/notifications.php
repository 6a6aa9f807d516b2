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

use core\message\message;
use core_user;

/**
 * Messages to whoever started a job.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class notifications {
    /** @var string table name */
    private const TABLE = 'manireports_cloud_jobs';

    /** @var int jobs of one run; the next run takes the next */
    private const PAGE = 200;

    /** @var int seconds after which it is too late to tell */
    private const LATE = WEEKSECS;

    /** @var string[] job types that have a word of their own in the text */
    private const TYPES = ['csv_import', 'license_allocation', 'notification', 'reengagement'];

    /**
     * Tells about every job that has finished and was started by a person, once.
     *
     * A job that repeats failed mails of another is not told about: it ends the other.
     *
     * @return int how many messages were sent
     */
    public static function send_due(): int {
        global $DB;
        [$ended, $params] = $DB->get_in_or_equal(states::JOB_ENDED, SQL_PARAMS_NAMED);
        $jobs = $DB->get_records_select(
            self::TABLE,
            "status $ended AND created_by > 0 AND notified_at IS NULL AND parent_job_id IS NULL
                AND closed_at IS NOT NULL AND completed_at IS NOT NULL",
            $params,
            'id',
            '*',
            0,
            self::PAGE
        );
        $number = 0;
        foreach ($jobs as $job) {
            // First the note, then the message: rather none than two.
            $DB->set_field(self::TABLE, 'notified_at', time(), ['id' => $job->id]);
            $user = core_user::get_user($job->created_by);
            $late = (int)$job->completed_at < time() - self::LATE;
            if (!$late && $user && !$user->deleted && !$user->suspended && self::send($job, $user)) {
                $number++;
            }
        }
        return $number;
    }

    /**
     * Sends one message.
     *
     * @param \stdClass $job
     * @param \stdClass $user
     * @return bool whether it was taken
     */
    private static function send(\stdClass $job, \stdClass $user): bool {
        $url = new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $job->id]);
        $link = self::text('cloudfinishedlink', $user);
        $text = self::summary($job, $user);
        $message = new message();
        $message->component = 'local_manireports';
        $message->name = 'cloudjobfinished';
        $message->userfrom = core_user::get_noreply_user();
        $message->userto = $user;
        $message->notification = 1;
        $message->subject = $text;
        $message->smallmessage = $text;
        $message->fullmessage = "$text\n\n$link: " . $url->out(false);
        $message->fullmessageformat = FORMAT_PLAIN;
        $message->fullmessagehtml = \html_writer::tag('p', s($text)) . \html_writer::tag('p', \html_writer::link($url, $link));
        $message->contexturl = $url->out(false);
        $message->contexturlname = $link;
        return (bool)message_send($message);
    }

    /**
     * What became of a job, in one sentence and the user's language.
     *
     * @param \stdClass $job
     * @param \stdClass $user
     */
    public static function summary(\stdClass $job, \stdClass $user): string {
        $key = in_array($job->type, self::TYPES, true) ? "cloudfinished_$job->type" : 'cloudfinished_other';
        $text = self::text($key, $user, ['sent' => (int)$job->emails_sent, 'failed' => (int)$job->emails_failed]);
        if (in_array($job->status, ['cancelled', 'returned'], true)) {
            return self::text("cloudfinished{$job->status}", $user, $text);
        }
        return $text;
    }

    /**
     * A string of ours in a user's language.
     *
     * @param string $key
     * @param \stdClass $user
     * @param mixed $a
     */
    private static function text(string $key, \stdClass $user, $a = null): string {
        return get_string_manager()->get_string($key, 'local_manireports', $a, $user->lang ?: null);
    }
}
