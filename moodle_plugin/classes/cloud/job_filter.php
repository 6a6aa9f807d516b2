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
 * Which jobs a list shows. Whatever a request carries becomes a filter that can be asked of the database.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class job_filter {
    /** @var string the status that stands for every job that has not ended */
    public const RUNNING = 'running';

    /** @var string the status that stands for every job with a mail that failed */
    public const WITH_FAILURES = 'with_failures';

    /** @var int[] periods that can be chosen, in days */
    public const PERIODS = [1, 7, 30, 90, 365];

    /**
     * A filter.
     *
     * @param int|null $company null: all that the user may see
     * @param string $type empty: all
     * @param string $status a job state, RUNNING or WITH_FAILURES; empty: all
     * @param int $days only jobs of the last so many days; 0: all
     * @param string $text part of the label, or a job's number
     */
    public function __construct(
        /** @var int|null null: all that the user may see */
        public readonly ?int $company = null,
        /** @var string empty: all */
        public readonly string $type = '',
        /** @var string a job state, RUNNING or WITH_FAILURES; empty: all */
        public readonly string $status = '',
        /** @var int only jobs of the last so many days; 0: all */
        public readonly int $days = 0,
        /** @var string part of the label, or a job's number */
        public readonly string $text = '',
    ) {
    }

    /**
     * The filter that a page's address asks for.
     */
    public static function from_request(): self {
        $company = optional_param('company', '', PARAM_ALPHANUM);
        return new self(
            is_numeric($company) ? (int)$company : null,
            optional_param('type', '', PARAM_ALPHANUMEXT),
            optional_param('status', '', PARAM_ALPHANUMEXT),
            max(0, optional_param('days', 0, PARAM_INT)),
            trim(optional_param('text', '', PARAM_NOTAGS)),
        );
    }

    /**
     * What an address needs to ask for this filter.
     *
     * @return array names and values, without what is not set
     */
    public function params(): array {
        $params = [
            'type' => $this->type,
            'status' => $this->status,
            'days' => $this->days ?: '',
            'text' => $this->text,
        ];
        $params = array_filter($params, fn($value) => $value !== '');
        return $this->company === null ? $params : ['company' => $this->company] + $params;
    }

    /**
     * The condition, with what the current user may see.
     *
     * @param string $alias of the jobs table
     * @return array [$sql, $params]
     */
    public function sql(string $alias = 'j'): array {
        global $DB;
        [$where, $params] = access::sql(access::VIEW, "$alias.company_id");
        $conditions = [$where];
        if ($this->company !== null) {
            $conditions[] = "$alias.company_id = :filtercompany";
            $params['filtercompany'] = $this->company;
        }
        if ($this->type !== '') {
            $conditions[] = "$alias.type = :filtertype";
            $params['filtertype'] = $this->type;
        }
        if ($this->status === self::RUNNING) {
            [$in, $states] = $DB->get_in_or_equal(vocabulary::JOB_RUNNING, SQL_PARAMS_NAMED, 'filterstate');
            $conditions[] = "$alias.status $in";
            $params += $states;
        } else if ($this->status === self::WITH_FAILURES) {
            $conditions[] = "$alias.emails_failed > 0";
        } else if ($this->status !== '') {
            $conditions[] = "$alias.status = :filterstatus";
            $params['filterstatus'] = $this->status;
        }
        if ($this->days) {
            $conditions[] = "$alias.created_at >= :filtersince";
            $params['filtersince'] = time() - $this->days * DAYSECS;
        }
        if ($this->text !== '') {
            $like = $DB->sql_like("$alias.label", ':filtertext', false, false);
            $params['filtertext'] = '%' . $DB->sql_like_escape($this->text) . '%';
            if (preg_match('/^#?(\d{1,18})$/', $this->text, $found)) {
                $like = "($like OR $alias.id = :filterid)";
                $params['filterid'] = (int)$found[1];
            }
            $conditions[] = $like;
        }
        return [implode(' AND ', $conditions), $params];
    }
}
