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
 * The words and colours of what the tables say. What has no word here is shown as it is.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class vocabulary {
    /** @var string[] the types that the sidecar gives jobs by itself */
    public const TYPES = ['csv_import', 'license_allocation', 'reengagement', 'notification'];

    /** @var string[] what a job can be, in the order of its life */
    public const JOB_STATES = [
        'pending', 'queued', 'processing', 'retry_pending', 'manual_retry',
        'completed', 'partial_failure', 'failed', 'cancelled', 'returned',
    ];

    /** @var string[] job states in which something may still happen by itself */
    public const JOB_RUNNING = ['pending', 'queued', 'processing', 'retry_pending', 'manual_retry'];

    /** @var string[] what a recipient can be, those that need a person first */
    public const RECIPIENT_STATES = [
        'failed', 'unknown', 'permanently_failed', 'retry_pending', 'processing', 'pending', 'sent', 'cancelled', 'returned',
    ];

    /** @var string[] recipient states of mail that may still leave */
    public const RECIPIENT_WAITING = ['pending', 'processing', 'retry_pending'];

    /** @var string[] recipient states of mail that did not arrive, or may not have */
    public const RECIPIENT_FAILED = ['failed', 'permanently_failed', 'unknown'];

    /** @var string[] batch states in which nothing more happens */
    public const BATCH_ENDED = ['sent', 'partial_failure', 'failed', 'cancelled', 'returned'];

    /** @var string[] colours of states, as classes that Bootstrap 4 and 5 both know */
    private const BADGES = [
        'pending' => 'bg-light text-dark border',
        'submitting' => 'bg-info text-white',
        'queued' => 'bg-info text-white',
        'processing' => 'bg-primary text-white',
        'retry_pending' => 'bg-warning text-dark',
        'manual_retry' => 'bg-warning text-dark',
        'completed' => 'bg-success text-white',
        'sent' => 'bg-success text-white',
        'partial_failure' => 'bg-warning text-dark',
        'unknown' => 'bg-warning text-dark',
        'failed' => 'bg-danger text-white',
        'permanently_failed' => 'bg-danger text-white',
        'cancelled' => 'bg-dark text-white',
        'returned' => 'bg-dark text-white',
    ];

    /** @var string[] what enhanced status codes mean (RFC 3463), without their class; longest first */
    private const ENHANCED = [
        '1.1' => 'smtpnoaddress', '1.2' => 'smtpnodomain', '1.10' => 'smtpnodomain', '1' => 'smtpaddress',
        '2.1' => 'smtpdisabled', '2.2' => 'smtpfull', '2.3' => 'smtptoolarge', '2' => 'smtpmailbox',
        '3.4' => 'smtptoolarge', '3' => 'smtpsystem', '4' => 'smtpnetwork', '5' => 'smtpprotocol',
        '6' => 'smtpcontent', '7' => 'smtppolicy',
    ];

    /** @var string[] what plain reply codes mean where the server gave no enhanced one */
    private const PLAIN = [
        '421' => 'smtpbusy', '450' => 'smtpbusy', '451' => 'smtpbusy', '452' => 'smtpfull',
        '530' => 'smtppolicy', '550' => 'smtpaddress', '551' => 'smtpaddress', '552' => 'smtpfull',
        '553' => 'smtpaddress', '554' => 'smtprefused',
    ];

    /**
     * What a job sends.
     *
     * @param string $type
     */
    public static function type(string $type): string {
        return self::word('cloudtype_', $type);
    }

    /**
     * What is true of a job, batch or recipient.
     *
     * @param string $state
     */
    public static function state(string $state): string {
        return self::word('cloudstate_', $state);
    }

    /**
     * What is true of a campaign.
     *
     * @param string $state
     */
    public static function campaign(string $state): string {
        return self::word('cloudcampaignstate_', $state);
    }

    /**
     * A state as templates show it.
     *
     * @param string $state
     * @return array state, label, classes
     */
    public static function badge(string $state): array {
        return [
            'state' => $state,
            'label' => self::state($state),
            'classes' => self::BADGES[$state] ?? 'bg-light text-dark border',
        ];
    }

    /**
     * Who carries the mail.
     *
     * @param string $provider
     */
    public static function provider(string $provider): string {
        return self::word('cloudprovider_', $provider);
    }

    /**
     * Where the mail came from.
     *
     * @param string $source
     */
    public static function source(string $source): string {
        return self::word('cloudsource_', $source);
    }

    /**
     * As what somebody gets a mail.
     *
     * @param string $role
     */
    public static function role(string $role): string {
        return self::word('cloudrole_', $role);
    }

    /**
     * How big a job is: "500 users + 500 copies".
     *
     * @param int $emails all mails
     * @param int $copies those of them that go to somebody else than the user
     */
    public static function size(int $emails, int $copies): string {
        $users = max(0, $emails - $copies);
        $parts = [];
        if ($users || !$copies) {
            $parts[] = get_string($users === 1 ? 'cloudsizeuser' : 'cloudsizeusers', 'local_manireports', self::number($users));
        }
        if ($copies) {
            $parts[] = get_string($copies === 1 ? 'cloudsizecopy' : 'cloudsizecopies', 'local_manireports', self::number($copies));
        }
        return implode(' + ', $parts);
    }

    /**
     * A whole number as people write it.
     *
     * @param int $number
     */
    public static function number(int $number): string {
        $separator = get_string('thousandssep', 'langconfig');
        return number_format($number, 0, '', $separator);
    }

    /**
     * How many mails a second, or a minute where it is slow.
     *
     * @param float $persecond
     */
    public static function rate(float $persecond): string {
        if ($persecond <= 0) {
            return '';
        }
        if ($persecond < 1) {
            return get_string('cloudrateminute', 'local_manireports', format_float($persecond * 60, $persecond < 0.1 ? 1 : 0));
        }
        return get_string('cloudratesecond', 'local_manireports', format_float($persecond, $persecond < 10 ? 1 : 0));
    }

    /**
     * How long something takes, to two units.
     *
     * @param int $seconds
     */
    public static function duration(int $seconds): string {
        return $seconds < 1 ? get_string('cloudundersecond', 'local_manireports') : format_time($seconds);
    }

    /**
     * Why a mail did not simply arrive.
     *
     * @param string $code as the sidecar stored it; a reply code of SMTP, or a word
     */
    public static function reason(string $code): string {
        if ($code === '') {
            return get_string('cloudcode_none', 'local_manireports');
        }
        if (preg_match('/^([245]\d\d)(?: [245]\.(\d{1,3})\.(\d{1,3}))?/', $code, $found)) {
            return get_string('cloudcode_' . self::smtp_meaning($found), 'local_manireports');
        }
        return self::word('cloudcode_', $code);
    }

    /**
     * What an SMTP reply means.
     *
     * @param string[] $found the whole, the reply code, the subject and detail of the enhanced code
     * @return string the end of a string's name
     */
    private static function smtp_meaning(array $found): string {
        $enhanced = isset($found[3]) ? "$found[2].$found[3]" : '';
        return self::ENHANCED[$enhanced] ?? self::ENHANCED[$found[2] ?? ''] ?? self::PLAIN[$found[1]]
            ?? ($found[1][0] === '5' ? 'smtprefused' : 'smtpbusy');
    }

    /**
     * A word of ours, or the value itself, made readable, where we have none.
     *
     * @param string $prefix of the string's name
     * @param string $value what a table says; not escaped
     */
    private static function word(string $prefix, string $value): string {
        $key = $prefix . clean_param($value, PARAM_ALPHANUMEXT);
        if ($value !== '' && get_string_manager()->string_exists($key, 'local_manireports')) {
            return get_string($key, 'local_manireports');
        }
        return str_replace('_', ' ', $value);
    }
}
