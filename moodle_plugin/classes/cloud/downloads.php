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

use local_manireports\api\cloud_job_manager;
use local_manireports\cloud\output\mail_rows;

/**
 * Jobs and mails as rows of a file.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class downloads {
    /** @var string[] columns of jobs; each has a string */
    private const JOB = [
        'job', 'type', 'label', 'company', 'startedby', 'status', 'emails', 'copies', 'sent', 'failed', 'provider',
        'created', 'started', 'completed', 'repeats',
    ];

    /** @var string[] columns of mails; each has a string */
    private const MAIL = [
        'job', 'address', 'name', 'role', 'subject', 'status', 'senttime', 'tries', 'reason', 'code', 'answer', 'providerid',
    ];

    /**
     * The columns of jobs.
     *
     * @return string[] headings by name
     */
    public static function job_columns(): array {
        return self::columns(self::JOB);
    }

    /**
     * The columns of mails.
     *
     * @return string[] headings by name
     */
    public static function mail_columns(): array {
        return self::columns(self::MAIL);
    }

    /**
     * A job as a row.
     *
     * @param \stdClass $job
     * @param string[] $companies names by id, as HTML
     * @param string[] $names of users, by id; those that are not there are looked up and added
     */
    public static function job(\stdClass $job, array $companies, array &$names): array {
        $who = (int)$job->created_by;
        if ($who && !isset($names[$who])) {
            $names += cloud_job_manager::user_names([$who]) + [$who => "#$who"];
        }
        $company = $companies[(int)$job->company_id] ?? '#' . (int)$job->company_id;
        return self::safe([
            (int)$job->id,
            vocabulary::type($job->type),
            $job->label,
            html_entity_decode($company, ENT_QUOTES),
            $names[$who] ?? '',
            vocabulary::state($job->status),
            (int)$job->email_count,
            (int)$job->copy_count,
            (int)$job->emails_sent,
            (int)$job->emails_failed,
            vocabulary::provider($job->provider),
            self::time($job->created_at),
            self::time($job->started_at),
            self::time($job->completed_at),
            $job->parent_job_id ? (int)$job->parent_job_id : '',
        ], self::JOB);
    }

    /**
     * A mail as a row.
     *
     * @param \stdClass $mail
     */
    public static function mail(\stdClass $mail): array {
        $data = mail_rows::data($mail);
        $failed = $mail->error_code !== '' || (string)$mail->error_message !== '';
        return self::safe([
            (int)$mail->job_id,
            $mail->email,
            mail_rows::name($data),
            vocabulary::role($mail->role),
            (string)($data['subject'] ?? ''),
            vocabulary::state($mail->status),
            self::time($mail->sent_at),
            (int)$mail->tries,
            $failed ? vocabulary::reason($mail->error_code) : '',
            $mail->error_code,
            (string)$mail->error_message,
            $mail->message_id,
        ], self::MAIL);
    }

    /**
     * Headings.
     *
     * @param string[] $names
     */
    private static function columns(array $names): array {
        $headings = array_map(fn($name) => get_string("cloudcolumn$name", 'local_manireports'), $names);
        return array_combine($names, $headings);
    }

    /**
     * A moment as spreadsheets read it, in the user's own time.
     *
     * @param int|string|null $time
     */
    private static function time($time): string {
        return $time ? userdate((int)$time, '%Y-%m-%d %H:%M:%S', 99, false, false) : '';
    }

    /**
     * A row in which no text can be taken for a formula: names and answers are written by others.
     *
     * @param array $row
     * @param string[] $names of the columns
     */
    private static function safe(array $row, array $names): array {
        $safe = fn($value) => is_string($value) && preg_match('/^[=+\-@\t\r]/', $value) ? "'$value" : $value;
        return array_combine($names, array_map($safe, $row));
    }
}
