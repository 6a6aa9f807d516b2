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

use core\context;
use core\context\system;

/**
 * Who may see and change what: site-wide, or a company manager for the own company only.
 *
 * Company 0 stands for mail without a company, and for the defaults; only site-wide rights reach it.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class access {
    /** @var string may see jobs, recipients, suppressions */
    public const VIEW = 'local/manireports:viewcloudjobs';

    /** @var string may retry, cancel, hand back, suppress */
    public const MANAGE = 'local/manireports:managecloudjobs';

    /** @var string may change a company's settings */
    public const CONFIGURE = 'local/manireports:configurecloud';

    /** @var string may send reminders */
    public const CAMPAIGN = 'local/manireports:sendcampaign';

    /**
     * Whether this site has companies.
     */
    public static function is_iomad(): bool {
        return defined('CONTEXT_COMPANY') && class_exists('\core\context\company');
    }

    /**
     * The companies for which the current user holds a capability.
     *
     * @param string $capability one of the constants
     * @return int[]|null null: all, and mail without a company; an empty list: none
     */
    public static function companies(string $capability): ?array {
        global $DB, $USER;
        if (has_capability($capability, system::instance())) {
            return null;
        }
        if (!self::is_iomad() || !isloggedin() || isguestuser()) {
            return [];
        }
        $managed = $DB->get_fieldset_select(
            'company_users',
            'DISTINCT companyid',
            'userid = :userid AND managertype = 1 AND suspended = 0',
            ['userid' => $USER->id]
        );
        $held = [];
        foreach ($managed as $companyid) {
            if (\iomad::has_capability($capability, self::context((int)$companyid), (int)$companyid)) {
                $held[] = (int)$companyid;
            }
        }
        return $held;
    }

    /**
     * Whether the current user holds a capability for a company.
     *
     * @param string $capability one of the constants
     * @param int $companyid 0 for mail without a company
     */
    public static function can(string $capability, int $companyid): bool {
        $companies = self::companies($capability);
        return $companies === null || in_array($companyid, $companies, true);
    }

    /**
     * Throws unless the current user holds a capability for a company.
     *
     * @param string $capability one of the constants
     * @param int $companyid 0 for mail without a company
     * @throws \required_capability_exception
     */
    public static function require(string $capability, int $companyid): void {
        if (!self::can($capability, $companyid)) {
            throw new \required_capability_exception(self::context($companyid), $capability, 'nopermissions', '');
        }
    }

    /**
     * Throws unless the current user holds a capability for any company at all.
     *
     * @param string $capability one of the constants
     * @throws \required_capability_exception
     */
    public static function require_any(string $capability): void {
        if (self::companies($capability) === []) {
            throw new \required_capability_exception(system::instance(), $capability, 'nopermissions', '');
        }
    }

    /**
     * A condition that keeps the rows of companies for which the current user holds a capability.
     *
     * @param string $capability one of the constants
     * @param string $column such as j.company_id
     * @return array [$sql, $params] with named parameters
     */
    public static function sql(string $capability, string $column): array {
        global $DB;
        $companies = self::companies($capability);
        if ($companies === null) {
            return ['1 = 1', []];
        }
        if (!$companies) {
            return ['1 = 0', []];
        }
        [$in, $params] = $DB->get_in_or_equal($companies, SQL_PARAMS_NAMED, 'company');
        return ["$column $in", $params];
    }

    /**
     * The context of a company; the system's where there is none.
     *
     * @param int $companyid 0 for mail without a company
     */
    public static function context(int $companyid): context {
        if ($companyid && self::is_iomad()) {
            $context = \core\context\company::instance($companyid, IGNORE_MISSING);
            if ($context) {
                return $context;
            }
        }
        return system::instance();
    }

    /**
     * Names of the companies that the current user may choose from, by id.
     *
     * @param string $capability one of the constants
     * @return string[] formatted names; with 0 for "no company" where the right is site-wide
     */
    public static function company_names(string $capability): array {
        global $DB;
        [$where, $params] = self::sql($capability, 'id');
        $names = self::companies($capability) === null ? [0 => get_string('cloudnocompany', 'local_manireports')] : [];
        if (self::is_iomad()) {
            foreach ($DB->get_records_select_menu('company', $where, $params, 'name', 'id, name') as $id => $name) {
                $names[(int)$id] = format_string($name);
            }
        }
        return $names;
    }
}
