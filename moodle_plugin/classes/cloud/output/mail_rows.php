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

namespace local_manireports\cloud\output;

use local_manireports\cloud\access;
use local_manireports\cloud\job_actions;
use local_manireports\cloud\page;
use local_manireports\cloud\vocabulary;

/**
 * Mails, one a row, as templates show them: of a job, or of a person over all jobs.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class mail_rows {
    /**
     * Rows of mails.
     *
     * @param \stdClass[] $mails rows of {@see \local_manireports\cloud\recipients}
     * @param int|null $company the company of them all; null: each row has its company_id
     * @return array[]
     */
    public static function export(array $mails, ?int $company = null): array {
        $manages = access::companies(access::MANAGE);
        $rows = [];
        foreach ($mails as $mail) {
            $its = $company ?? (int)$mail->company_id;
            $rows[] = self::row($mail, $manages === null || in_array($its, $manages, true));
        }
        return $rows;
    }

    /**
     * A mail.
     *
     * @param \stdClass $mail
     * @param bool $manage whether the current user may send it once more
     */
    private static function row(\stdClass $mail, bool $manage): array {
        $data = self::data($mail);
        $troubled = !in_array($mail->status, ['sent', 'pending', 'processing'], true)
            || ($mail->status !== 'sent' && (string)$mail->error_message !== '');
        $profile = new \moodle_url('/user/profile.php', ['id' => $mail->userid]);
        $repeatedby = (int)($mail->repeated_by ?? 0);
        $resendable = in_array($mail->status, job_actions::RESENDABLE, true);
        return [
            'id' => (int)$mail->id,
            'email' => $mail->email,
            'name' => self::name($data),
            'profile' => $mail->userid ? $profile->out(false) : '',
            'role' => $mail->role === 'user' ? '' : vocabulary::role($mail->role),
            'subject' => (string)($data['subject'] ?? ''),
            'badge' => vocabulary::badge($mail->status),
            'when' => page::moment($mail->sent_at ?: $mail->timemodified),
            'tries' => (int)$mail->tries,
            'manytries' => (int)$mail->tries > 1 ? get_string('cloudtries', 'local_manireports', (int)$mail->tries) : '',
            'reason' => $troubled ? vocabulary::reason($mail->error_code) : '',
            'answer' => $troubled ? self::answer($mail) : '',
            'messageid' => $mail->message_id,
            'canresend' => $manage && $resendable,
            'job' => (int)$mail->job_id,
            'joburl' => (new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $mail->job_id]))->out(false),
            'joblabel' => $mail->label ?? '',
            'provider' => isset($mail->provider) ? vocabulary::provider($mail->provider) : '',
            'repeatedby' => $repeatedby,
            'repeatedurl' => $repeatedby
                ? (new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $repeatedby]))->out(false)
                : '',
            'sesskey' => sesskey(),
        ];
    }

    /**
     * What is known of the mail beside its columns.
     *
     * @param \stdClass $mail
     * @return array strings by name
     */
    public static function data(\stdClass $mail): array {
        $data = json_decode($mail->recipient_data ?: '{}', true);
        return is_array($data) ? array_filter($data, 'is_scalar') : [];
    }

    /**
     * To whom it goes.
     *
     * @param array $data
     */
    public static function name(array $data): string {
        return trim(($data['firstname'] ?? '') . ' ' . ($data['lastname'] ?? ''));
    }

    /**
     * What the server said, with its code.
     *
     * @param \stdClass $mail
     */
    public static function answer(\stdClass $mail): string {
        $code = preg_match('/^\d/', $mail->error_code) ? $mail->error_code : '';
        return trim("$code $mail->error_message");
    }
}
