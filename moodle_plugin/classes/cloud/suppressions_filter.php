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
 * Which of the suppressed addresses are wanted.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class suppressions_filter {
    /**
     * A filter.
     *
     * @param string $text part of the address; empty: any
     * @param int $company -1: any
     * @param string $reason empty: any
     */
    public function __construct(
        /** @var string part of the address */
        public readonly string $text = '',
        /** @var int -1: any */
        public readonly int $company = -1,
        /** @var string empty: any */
        public readonly string $reason = ''
    ) {
    }

    /**
     * What the page's address asks for.
     */
    public static function from_request(): self {
        $reason = optional_param('reason', '', PARAM_ALPHA);
        return new self(
            \core_text::substr(trim(optional_param('text', '', PARAM_NOTAGS)), 0, 255),
            max(-1, optional_param('company', -1, PARAM_INT)),
            in_array($reason, suppressions::REASONS, true) ? $reason : ''
        );
    }

    /**
     * The parameters of an address that asks for the same.
     */
    public function params(): array {
        $params = array_filter(['text' => $this->text, 'reason' => $this->reason], fn($value) => $value !== '');
        return $params + ($this->company >= 0 ? ['company' => $this->company] : []);
    }

    /**
     * The condition on the table s.
     *
     * @return array [$sql, $params]
     */
    public function sql(): array {
        global $DB;
        $where = ['1 = 1'];
        $params = [];
        if ($this->company >= 0) {
            $where[] = 's.company_id = :onlycompany';
            $params['onlycompany'] = $this->company;
        }
        if ($this->reason !== '') {
            $where[] = 's.reason = :onlyreason';
            $params['onlyreason'] = $this->reason;
        }
        if ($this->text !== '') {
            $whole = suppressions::to_ascii($this->text);
            $like = $DB->sql_like('s.email', ':text', false);
            // An entry of a deleted person is found by the whole address only.
            $where[] = $whole === '' ? $like : "($like OR s.email = :hash)";
            $params['text'] = '%' . $DB->sql_like_escape($whole === '' ? $this->text : $whole) . '%';
            if ($whole !== '') {
                $params['hash'] = suppressions::HASHED . hash('sha256', $whole);
            }
        }
        return [implode(' AND ', $where), $params];
    }
}
