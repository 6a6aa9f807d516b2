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
 * Which settings of a company are allowed: the rules of the sidecar, and those of the providers.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class settings_rules {
    /** @var int the greatest number that a page takes */
    private const GREATEST = 100000000;

    /** @var string[] columns that hold the address of a queue */
    private const QUEUES = ['sqs_queue_url', 'results_queue_url', 'feedback_queue_url'];

    /** @var string[] what texts of one kind look like, by column */
    private const PATTERNS = [
        'aws_region' => '/^[a-z]{2}(-[a-z]+)+-\d{1,2}$/',
        'aws_role_arn' => '/^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@\/-]+$/',
        'aws_external_id' => '/^[\w+=,.@:\/-]{2,}$/',
        'ledger_table' => '/^[A-Za-z0-9_.-]{3,255}$/',
        'ses_configuration_set' => '/^[A-Za-z0-9_-]{1,64}$/',
        'cloudflare_account_id' => '/^[0-9a-f]{32}$/',
        'cloudflare_queue_id' => '/^[0-9a-f]{32}$/',
        'cloudflare_results_queue_id' => '/^[0-9a-f]{32}$/',
    ];

    /** @var string[][] what a provider cannot do without, once a company is enabled */
    private const NEEDED = [
        'smtp' => [],
        'aws' => ['aws_region', 'aws_access_key', 'aws_secret_key', 'sqs_queue_url'],
        'cloudflare' => ['cloudflare_account_id', 'cloudflare_api_token', 'cloudflare_queue_id'],
    ];

    /**
     * What a form's data means for the row.
     *
     * @param array $data as submitted, by column; secrets that are empty are kept, unless COLUMN_remove is set
     * @return array values for {@see company_settings::save}
     */
    public static function values(array $data): array {
        $values = ['enabled' => (int)!empty($data['enabled'])];
        foreach (company_settings::columns() as $column) {
            $text = self::text($data[$column] ?? '');
            if (in_array($column, company_settings::SECRETS, true)) {
                if ($text !== '') {
                    $values[$column] = $text;
                } else if (!empty($data["{$column}_remove"])) {
                    $values[$column] = null;
                }
            } else if (isset(company_settings::NUMBERS[$column])) {
                $values[$column] = $text === '' ? null : (int)$text;
            } else if ($column !== 'enabled' && array_key_exists($column, $data)) {
                $values[$column] = $text;
            }
        }
        return $values;
    }

    /**
     * What is wrong with a form's data.
     *
     * @param int $company whose settings they are
     * @param array $data as submitted, by column
     * @param bool $everywhere whether the person may configure the whole site
     * @return string[] for the admin, by column
     */
    public static function complaints(int $company, array $data, bool $everywhere): array {
        $complaints = [];
        foreach (company_settings::columns() as $column) {
            $text = self::text($data[$column] ?? '');
            $complaint = $text === '' ? '' : self::complaint($column, $text, $everywhere);
            if ($complaint !== '') {
                $complaints[$column] = $complaint;
            }
        }
        if ($complaints) {
            return $complaints;
        }
        return self::incomplete($company, self::values($data));
    }

    /**
     * What is wrong with one value.
     *
     * @param string $column
     * @param string $text not empty
     * @param bool $everywhere whether the person may configure the whole site
     */
    private static function complaint(string $column, string $text, bool $everywhere): string {
        $longest = company_settings::longest($column);
        if ($longest && \core_text::strlen($text) > $longest) {
            return get_string('maximumchars', '', $longest);
        }
        if (isset(company_settings::CHOICES[$column])) {
            return in_array($text, company_settings::CHOICES[$column], true) ? '' : self::say('choice');
        }
        if (isset(company_settings::NUMBERS[$column])) {
            $least = company_settings::NUMBERS[$column];
            $isnumber = preg_match('/^\d{1,9}$/', $text) && (int)$text >= $least && (int)$text <= self::GREATEST;
            return $isnumber ? '' : self::say('number', (object)['least' => $least, 'greatest' => self::GREATEST]);
        }
        if (in_array($column, company_settings::SECRETS, true)) {
            return preg_match('/^[\x21-\x7e]{4,2048}$/', $text) ? '' : self::say('secret');
        }
        if (in_array($column, self::QUEUES, true)) {
            return self::queue($text, $everywhere);
        }
        if (isset(self::PATTERNS[$column])) {
            return preg_match(self::PATTERNS[$column], $text) ? '' : self::say($column);
        }
        return match ($column) {
            'cloudflare_worker_url' => self::worker($text, $everywhere),
            'ses_sender_email' => validate_email($text) ? '' : get_string('invalidemail'),
            'sender_name' => preg_match('/[\x00-\x1f\x7f<>"]/', $text) ? self::say('sendername') : '',
            'send_window' => send_window::complaint($text),
            default => '',
        };
    }

    /**
     * What is wrong with the address of a queue.
     *
     * The sidecar calls it with the keys of the company, or the site: whoever has no right beyond a company gets no further
     * than Amazon.
     *
     * @param string $url
     * @param bool $everywhere whether the person may configure the whole site
     */
    private static function queue(string $url, bool $everywhere): string {
        if (preg_match('~^https://sqs\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/\d{12}/[A-Za-z0-9_-]{1,80}$~', $url)) {
            return '';
        }
        return $everywhere && self::is_url($url) ? '' : self::say('queue');
    }

    /**
     * What is wrong with the address of a worker; the sidecar calls it too.
     *
     * @param string $url
     * @param bool $everywhere whether the person may configure the whole site
     */
    private static function worker(string $url, bool $everywhere): string {
        if (preg_match('~^https://[a-z0-9-]+(\.[a-z0-9-]+)*\.workers\.dev/?$~', $url)) {
            return '';
        }
        return $everywhere && self::is_url($url) ? '' : self::say('worker');
    }

    /**
     * Whether a text is the address of something on the web, without a user in it.
     *
     * @param string $url
     */
    private static function is_url(string $url): bool {
        $parts = parse_url($url);
        return $parts && in_array($parts['scheme'] ?? '', ['http', 'https'], true) && !empty($parts['host'])
            && !isset($parts['user']) && !preg_match('/\s/', $url);
    }

    /**
     * What an enabled company's provider still lacks.
     *
     * @param int $company
     * @param array $values as {@see values} makes them
     */
    private static function incomplete(int $company, array $values): array {
        $will = company_settings::effective($company, $values);
        $own = (object)array_merge((array)company_settings::own($company), $values);
        if (!company_settings::is_unset($own->aws_secret_key) && company_settings::is_unset($own->aws_access_key)) {
            return ['aws_access_key' => self::say('keypair')];
        }
        if (!company_settings::is_unset($own->aws_access_key) && company_settings::is_unset($own->aws_secret_key)) {
            return ['aws_secret_key' => self::say('keypair')];
        }
        $complaints = [];
        if ($will->enabled) {
            foreach (self::NEEDED[$will->provider] ?? [] as $column) {
                if (company_settings::is_unset($will->$column)) {
                    $complaints[$column] = self::say('needed', vocabulary::provider($will->provider));
                }
            }
        }
        return $complaints;
    }

    /**
     * A submitted value as a text.
     *
     * @param mixed $value
     */
    private static function text($value): string {
        return is_scalar($value) ? trim((string)$value) : '';
    }

    /**
     * A complaint in words.
     *
     * @param string $name the end of a string's name
     * @param mixed $a
     */
    private static function say(string $name, $a = null): string {
        return get_string('cloudrule_' . $name, 'local_manireports', $a);
    }
}
