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

/**
 * Capabilities. Where IOMAD is present they belong to a company and its managers; elsewhere to the site.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

defined('MOODLE_INTERNAL') || die();

$manireportslevel = defined('CONTEXT_COMPANY') ? CONTEXT_COMPANY : CONTEXT_SYSTEM;
$manireportsarchetypes = defined('CONTEXT_COMPANY')
    ? ['companymanager' => CAP_ALLOW, 'clientadministrator' => CAP_ALLOW]
    : ['manager' => CAP_ALLOW];

$capabilities = [
    'local/manireports:viewcloudjobs' => [
        'captype' => 'read',
        'riskbitmask' => RISK_PERSONAL,
        'contextlevel' => $manireportslevel,
        'archetypes' => $manireportsarchetypes,
    ],
    'local/manireports:managecloudjobs' => [
        'captype' => 'write',
        'riskbitmask' => RISK_PERSONAL | RISK_SPAM,
        'contextlevel' => $manireportslevel,
        'archetypes' => $manireportsarchetypes,
    ],
    'local/manireports:configurecloud' => [
        'captype' => 'write',
        'riskbitmask' => RISK_CONFIG | RISK_SPAM,
        'contextlevel' => $manireportslevel,
        'archetypes' => $manireportsarchetypes,
    ],
    'local/manireports:sendcampaign' => [
        'captype' => 'write',
        'riskbitmask' => RISK_SPAM | RISK_PERSONAL,
        'contextlevel' => $manireportslevel,
        'archetypes' => $manireportsarchetypes,
    ],
];
