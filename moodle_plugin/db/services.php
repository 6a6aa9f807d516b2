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
 * Web services of the pages.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

defined('MOODLE_INTERNAL') || die();

$functions = [
    'local_manireports_cloud_campaign_audience' => [
        'classname' => \local_manireports\external\cloud_campaign_audience::class,
        'description' => 'Who would get a reminder',
        'type' => 'read',
        'ajax' => true,
        'readonlysession' => true,
        'capabilities' => 'local/manireports:sendcampaign',
    ],
    'local_manireports_cloud_campaign_preview' => [
        'classname' => \local_manireports\external\cloud_campaign_preview::class,
        'description' => 'A reminder as one of its recipients would read it',
        'type' => 'read',
        'ajax' => true,
        'readonlysession' => true,
        'capabilities' => 'local/manireports:sendcampaign',
    ],
    'local_manireports_cloud_campaign_test' => [
        'classname' => \local_manireports\external\cloud_campaign_test::class,
        'description' => 'Sends a reminder to the person who writes it',
        'type' => 'write',
        'ajax' => true,
        'capabilities' => 'local/manireports:sendcampaign',
    ],
    'local_manireports_cloud_job_act' => [
        'classname' => \local_manireports\external\cloud_job_act::class,
        'description' => 'Does something to a job of bulk mail',
        'type' => 'write',
        'ajax' => true,
        'capabilities' => 'local/manireports:managecloudjobs',
    ],
    'local_manireports_cloud_job_view' => [
        'classname' => \local_manireports\external\cloud_job_view::class,
        'description' => 'A job of bulk mail as it is now',
        'type' => 'read',
        'ajax' => true,
        'readonlysession' => true,
        'capabilities' => 'local/manireports:viewcloudjobs',
    ],
    'local_manireports_cloud_jobs_list' => [
        'classname' => \local_manireports\external\cloud_jobs_list::class,
        'description' => 'The list of jobs of bulk mail as it is now',
        'type' => 'read',
        'ajax' => true,
        'readonlysession' => true,
        'capabilities' => 'local/manireports:viewcloudjobs',
    ],
    'local_manireports_cloud_mail_resend' => [
        'classname' => \local_manireports\external\cloud_mail_resend::class,
        'description' => 'Sends one mail once more',
        'type' => 'write',
        'ajax' => true,
        'capabilities' => 'local/manireports:managecloudjobs',
    ],
    'local_manireports_cloud_request_answer' => [
        'classname' => \local_manireports\external\cloud_request_answer::class,
        'description' => 'What the sidecar answered to a request',
        'type' => 'read',
        'ajax' => true,
        'readonlysession' => true,
        'capabilities' => 'local/manireports:viewcloudjobs',
    ],
    'local_manireports_cloud_sending_pause' => [
        'classname' => \local_manireports\external\cloud_sending_pause::class,
        'description' => 'Holds all bulk mail, or lets it go on',
        'type' => 'write',
        'ajax' => true,
        'capabilities' => 'local/manireports:managecloudjobs',
    ],
    'local_manireports_cloud_settings_answer' => [
        'classname' => \local_manireports\external\cloud_settings_answer::class,
        'description' => 'What the sidecar answered about the settings of a company',
        'type' => 'read',
        'ajax' => true,
        'readonlysession' => true,
        'capabilities' => 'local/manireports:configurecloud',
    ],
    'local_manireports_cloud_settings_ask' => [
        'classname' => \local_manireports\external\cloud_settings_ask::class,
        'description' => 'Asks the sidecar something about the settings of a company',
        'type' => 'write',
        'ajax' => true,
        'capabilities' => 'local/manireports:configurecloud',
    ],
];
