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

/**
 * Reads the payload of a report as the wire contract (version 1) says, and as strictly as the sidecar does.
 *
 * Nothing is guessed and nothing converted: a wrong type, a missing field, an unknown status, a name given twice or a
 * number that is no integer make a payload malformed. Fields that are not known are ignored.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class result_payload {
    /** @var string[] what a worker says of a batch */
    private const BATCH = ['sent', 'partial_failure', 'failed', 'deferred', 'expired', 'refused'];

    /** @var string[] what a worker says of a mail */
    private const MAIL = ['sent', 'failed', 'permanently_failed', 'unknown', 'deferred', 'revoked'];

    /** @var string a name of printable ASCII */
    private const NAME = '/^[!-~]{1,64}$/D';

    /** @var string 32 hex digits */
    private const HEX32 = '/^[0-9a-f]{32}$/D';

    /** @var string 64 hex digits */
    private const HEX64 = '/^[0-9a-f]{64}$/D';

    /** @var string an error code of a provider */
    private const CODE = '/^[ -~]{0,50}$/D';

    /** @var string a message id of a provider */
    private const MESSAGE_ID = '/^[ -~]{0,255}$/D';

    /**
     * By what name a report goes.
     *
     * @param string $payload the exact bytes
     * @return string|null null if the payload is malformed in any field
     */
    public static function delivery_id(string $payload): ?string {
        $result = self::decode($payload);
        return $result instanceof \stdClass && self::is_result($result) ? $result->delivery_id : null;
    }

    /**
     * The JSON value in a text; null if it is none, or gives a name twice.
     *
     * @param string $payload
     * @return mixed
     */
    private static function decode(string $payload) {
        if (!mb_check_encoding($payload, 'UTF-8')) {
            return null;
        }
        // Half a surrogate pair in a text for the eye costs nobody the results beside it.
        $lone = '/\\\\(?:u(?:d[89ab][0-9a-f]{2}\\\\ud[c-f][0-9a-f]{2}(*SKIP)(*FAIL)|d[89a-f][0-9a-f]{2})|.(*SKIP)(*FAIL))/is';
        $whole = preg_replace($lone, '\\ufffd', $payload);
        $value = $whole === null ? null : json_decode($whole);
        if (!$value instanceof \stdClass) {
            return null;
        }
        $bare = preg_replace('/"[^"\\\\]*+(?:\\\\.[^"\\\\]*+)*+"/s', '', $whole);
        // Outside of strings each member has one colon; a name given twice has left fewer members than colons.
        return $bare !== null && substr_count($bare, ':') === self::members($value) ? $value : null;
    }

    /**
     * How many members the objects in a value have, together.
     *
     * @param mixed $value as json_decode gives it
     */
    private static function members($value): int {
        if (!is_array($value) && !$value instanceof \stdClass) {
            return 0;
        }
        $inner = (array)$value;
        $number = is_array($value) ? 0 : count($inner);
        foreach ($inner as $each) {
            $number += self::members($each);
        }
        return $number;
    }

    /**
     * Whether every field of a report that we know is as it must be.
     *
     * @param \stdClass $result
     */
    private static function is_result(\stdClass $result): bool {
        $fits = self::fits($result, 'site_uid', self::NAME)
            && self::fits($result, 'delivery_id', self::HEX64)
            && self::fits($result, 'batch_key', self::HEX32)
            && self::is_number($result, 'job_id')
            && self::is_number($result, 'batch_id')
            && self::is_number($result, 'attempt', 1)
            && self::is_number($result, 'try', 1)
            && is_bool($result->final ?? null)
            && in_array($result->status ?? null, self::BATCH, true)
            && self::is_number($result, 'emails_sent')
            && self::is_number($result, 'emails_failed')
            && is_array($result->errors ?? null)
            && is_array($result->recipients ?? null);
        if (!$fits || array_filter($result->errors, fn($text): bool => !is_string($text))) {
            return false;
        }
        $seen = [];
        foreach ($result->recipients as $mail) {
            if (!$mail instanceof \stdClass || !self::is_mail($mail) || isset($seen[$mail->mail_key])) {
                return false;
            }
            $seen[$mail->mail_key] = true;
        }
        return true;
    }

    /**
     * Whether every field of what is said of a mail is as it must be.
     *
     * @param \stdClass $mail
     */
    private static function is_mail(\stdClass $mail): bool {
        $status = $mail->status ?? null;
        $named = in_array($status, self::MAIL, true)
            && self::fits($mail, 'mail_key', self::HEX64)
            && self::is_number($mail, 'id');
        if (!$named || $status === 'sent') {
            return $named && self::fits($mail, 'message_id', self::MESSAGE_ID);
        }
        return self::fits($mail, 'error_code', self::CODE)
            && is_string($mail->error ?? null)
            && is_bool($mail->retryable ?? null)
            && self::is_number($mail, 'not_before');
    }

    /**
     * Whether a field is a string of a form.
     *
     * @param \stdClass $fields
     * @param string $name
     * @param string $form a regular expression
     */
    private static function fits(\stdClass $fields, string $name, string $form): bool {
        $value = $fields->$name ?? null;
        return is_string($value) && preg_match($form, $value) === 1;
    }

    /**
     * Whether a field is an integer, from a least one to what a column holds.
     *
     * @param \stdClass $fields
     * @param string $name
     * @param int $least
     */
    private static function is_number(\stdClass $fields, string $name, int $least = 0): bool {
        $value = $fields->$name ?? null;
        return is_int($value) && $value >= $least;
    }
}
