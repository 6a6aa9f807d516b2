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
 * What the callback page answers to a report of a worker (wire contract, version 1).
 *
 * Signature and time come first; only then is the payload looked at. Every refusal looks the same from outside,
 * whether the key is unknown, the signature wrong or the time off, and takes the same steps. This file is loaded
 * before Moodle is, so it uses nothing of Moodle.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class callback {
    /** @var int stored */
    public const STORED = 202;

    /** @var int seen before */
    public const SEEN = 200;

    /** @var int malformed */
    public const MALFORMED = 400;

    /** @var int bad signature, or a time too far off */
    public const UNPROVEN = 401;

    /** @var int another method than POST */
    public const NO_POST = 405;

    /** @var int too large */
    public const TOO_LARGE = 413;

    /** @var int maintenance, or it could not be stored */
    public const UNAVAILABLE = 503;

    /** @var int bytes of a payload that are taken */
    public const MAX_BYTES = 1048576;

    /** @var int seconds that a report's time may be off */
    public const CLOCK_SECONDS = 300;

    /** @var callback_store where keys are found and reports kept */
    private callback_store $store;

    /**
     * Over a store.
     *
     * @param callback_store $store
     */
    public function __construct(callback_store $store) {
        $this->store = $store;
    }

    /**
     * What can be said without a database: the status of a request that is plainly wrong.
     *
     * @param array $server as $_SERVER
     * @return int 0 if it is worth looking at
     */
    public static function refuse_early(array $server): int {
        if (($server['REQUEST_METHOD'] ?? '') !== 'POST') {
            return self::NO_POST;
        }
        $length = (string)($server['CONTENT_LENGTH'] ?? $server['HTTP_CONTENT_LENGTH'] ?? '');
        if ($length !== '' && !ctype_digit($length)) {
            return self::MALFORMED;
        }
        if (strlen(ltrim($length, '0')) > 7 || (int)$length > self::MAX_BYTES) {
            return self::TOO_LARGE;
        }
        if (!preg_match('/^-?(?:0|[1-9][0-9]{0,17})$/D', self::header($server, 'TIMESTAMP'))) {
            return self::MALFORMED;
        }
        $named = preg_match('/^[!-~]{1,64}$/D', self::header($server, 'KEY'));
        return $named && preg_match('/^[0-9a-f]{64}$/D', self::header($server, 'SIGNATURE')) ? 0 : self::UNPROVEN;
    }

    /**
     * Takes a report; nothing is thrown.
     *
     * @param array $server as $_SERVER
     * @param resource $body from which the body can be read
     * @param int $now Unix seconds
     * @return int one of the statuses
     */
    public function answer(array $server, $body, int $now): int {
        $early = self::refuse_early($server);
        if ($early) {
            return $early;
        }
        try {
            if (!$this->store->ready()) {
                return self::UNAVAILABLE;
            }
            $payload = stream_get_contents($body, self::MAX_BYTES + 1);
            if ($payload === false) {
                return self::MALFORMED;
            }
            if (strlen($payload) > self::MAX_BYTES) {
                return self::TOO_LARGE;
            }
            $report = (object)[
                'callback_key' => self::header($server, 'KEY'),
                'signed_at' => (int)self::header($server, 'TIMESTAMP'),
                'payload' => $payload,
                'signature' => self::header($server, 'SIGNATURE'),
                'received_at' => $now,
                'outcome' => '',
            ];
            $signed = self::is_signed($report, $this->store->secrets($report->callback_key, $now));
            $timely = abs($now - $report->signed_at) <= self::CLOCK_SECONDS;
            if (!$signed || !$timely) {
                return self::UNPROVEN;
            }
            $report->delivery_id = result_payload::delivery_id($payload);
            if ($report->delivery_id === null) {
                return self::MALFORMED;
            }
            return $this->store->keep($report) ? self::STORED : self::SEEN;
        } catch (\Throwable $trouble) {
            // phpcs:ignore moodle.PHP.ForbiddenFunctions.FoundWithAlternative -- the caller must not see it.
            error_log('local_manireports: a report of a worker could not be taken: ' . $trouble->getMessage());
            return self::UNAVAILABLE;
        }
    }

    /**
     * The signature of a text.
     *
     * @param string $kind job or result
     * @param int $timestamp Unix seconds
     * @param string $payload the exact bytes
     * @param string $secret
     * @return string 64 hex digits
     */
    public static function sign(string $kind, int $timestamp, string $payload, string $secret): string {
        return hash_hmac('sha256', "$kind.$timestamp.$payload", $secret);
    }

    /**
     * Whether one of the secrets signed a report as a result; an empty secret never did.
     *
     * Every secret is tried to the end, and without any a random one is tried: the time tells nothing.
     *
     * @param \stdClass $report signed_at, payload, signature
     * @param string[] $secrets
     */
    public static function is_signed(\stdClass $report, array $secrets): bool {
        $genuine = false;
        foreach ($secrets ?: [random_bytes(32)] as $secret) {
            $made = self::sign('result', $report->signed_at, $report->payload, $secret);
            $same = hash_equals($made, $report->signature);
            $genuine = $genuine || ($same && $secret !== '' && $secrets);
        }
        return $genuine;
    }

    /**
     * One of our three headers, whatever a proxy or server made of its name; empty if it is missing.
     *
     * @param array $server as $_SERVER
     * @param string $name KEY, TIMESTAMP or SIGNATURE
     */
    private static function header(array $server, string $name): string {
        $wanted = "X_MANIREPORTS_$name";
        foreach (["HTTP_$wanted", "REDIRECT_HTTP_$wanted"] as $usual) {
            if (isset($server[$usual])) {
                return (string)$server[$usual];
            }
        }
        foreach ($server as $given => $value) {
            $given = strtoupper(strtr((string)$given, '-', '_'));
            if (is_string($value) && preg_replace('/^(?:REDIRECT_)*(?:HTTP_)?/', '', $given) === $wanted) {
                return $value;
            }
        }
        return '';
    }
}
