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
 * English strings, in alphabetical order.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

defined('MOODLE_INTERNAL') || die();

$string['cloudcampaign'] = 'Reminder emails';
$string['cloudcheckalive'] = 'Sidecar {$a->version} leads this site ({$a->instance}).';
$string['cloudcheckalltakenover'] = 'All of them are enabled.';
$string['cloudcheckblocked'] = 'The sidecar is there, but something keeps it from sending.';
$string['cloudcheckcallback'] = 'Bulk mail: callback secret';
$string['cloudcheckdead'] = 'No sidecar leads this site (last seen: {$a}). Moodle\'s own cron sends all mail.';
$string['cloudcheckdeadwaiting'] = '{$a} batches that the sidecar has claimed wait for it. Start it again, or hand them back on the page of their job.';
$string['cloudcheckfailed'] = '{$a->failed} mails failed and {$a->sent} were sent within the last hour.';
$string['cloudcheckfailures'] = 'Bulk mail: failures in the last hour';
$string['cloudcheckheartbeat'] = 'Bulk mail: sidecar';
$string['cloudchecknever'] = 'No company is enabled and no sidecar has run yet. Moodle\'s own cron sends all mail.';
$string['cloudchecknocloud'] = 'No enabled company sends through a cloud provider.';
$string['cloudchecknosecret'] = 'These companies have no callback key, so that nobody learns what became of their mails: {$a}';
$string['cloudchecknottakenover'] = 'No earlier version was here.';
$string['cloudchecknowaiting'] = 'No claimed mail waits to leave.';
$string['cloudcheckoldest'] = 'The oldest claimed mail has been waiting to leave for {$a}.';
$string['cloudchecksecret'] = '{$a} companies that send through a cloud provider have a callback key.';
$string['cloudchecktakenover'] = 'Bulk mail: companies of the earlier version';
$string['cloudcheckwaiting'] = 'Bulk mail: oldest waiting mail';
$string['cloudfinished_csv_import'] = '{$a->sent} account emails sent successfully, {$a->failed} failed';
$string['cloudfinished_license_allocation'] = '{$a->sent} license allocation emails sent successfully, {$a->failed} failed';
$string['cloudfinished_notification'] = '{$a->sent} notification emails sent successfully, {$a->failed} failed';
$string['cloudfinished_other'] = '{$a->sent} emails sent successfully, {$a->failed} failed';
$string['cloudfinished_reengagement'] = '{$a->sent} reminder emails sent successfully, {$a->failed} failed';
$string['cloudfinishedcancelled'] = 'Cancelled: {$a}';
$string['cloudfinishedlink'] = 'See the job';
$string['cloudfinishedreturned'] = 'Handed back to Moodle: {$a}';
$string['cloudjobs'] = 'Cloud jobs';
$string['cloudkeyslostnotice'] = 'Keys of companies could not be encrypted, because this site has no encryption key and may not make one. They were removed: enter them again.';
$string['cloudnocompany'] = 'No company';
$string['cloudretentiondays'] = 'Keep jobs for (days)';
$string['cloudretentiondays_desc'] = 'The sidecar deletes jobs that finished longer ago, with their recipients. At least 30 days; 0 keeps everything. What is counted over all time is kept.';
$string['cloudsettings'] = 'Company settings';
$string['cloudsidecarleads'] = 'A sidecar leads this site, or may still: ask it to hand back the job.';
$string['cloudsitesettings'] = 'Site settings';
$string['cloudsuppressions'] = 'Suppressed addresses';
$string['cloudtakenovernotice'] = '{$a} companies were taken over from an earlier ManiReports and are not enabled: run verify for each, then enable it.';
$string['cloudtasknotify'] = 'Tell people that their bulk mail was sent';
$string['cloudtaskrefresh'] = 'Follow language packs and roles for the sidecar';
$string['clouduninstallheld'] = 'Job {$a->job} ({$a->label}): {$a->count} mails cannot be handed back. They were on their way, or had been tried; nobody sends them any more.';
$string['clouduninstalloutbox'] = '{$a} reminders in the outbox were never sent.';
$string['clouduninstallreturned'] = '{$a} mails were handed back to Moodle.';
$string['manireports:configurecloud'] = 'Change how bulk mail of a company is sent';
$string['manireports:managecloudjobs'] = 'Retry, cancel and hand back bulk mail';
$string['manireports:sendcampaign'] = 'Send reminder emails';
$string['manireports:viewcloudjobs'] = 'See bulk mail and its recipients';
$string['messageprovider:cloudjobfinished'] = 'Bulk mail that you started was sent';
$string['pluginname'] = 'ManiReports';
$string['privacy:metadata:cloud_aws'] = 'Amazon Web Services (SQS, Lambda, DynamoDB, SES), for companies that send by it';
$string['privacy:metadata:cloud_callbacks'] = 'Reports of workers, as they came; kept for two weeks';
$string['privacy:metadata:cloud_callbacks:payload'] = 'A worker\'s report, whose error texts may name addresses';
$string['privacy:metadata:cloud_campaigns'] = 'Reminders that a person wrote';
$string['privacy:metadata:cloud_campaigns:body'] = 'Its text';
$string['privacy:metadata:cloud_campaigns:created_by'] = 'Who wrote the reminder';
$string['privacy:metadata:cloud_campaigns:subject'] = 'Its subject';
$string['privacy:metadata:cloud_cloudflare'] = 'Cloudflare (Queues, Workers, Durable Objects), for companies that send by it';
$string['privacy:metadata:cloud_external:body'] = 'The mail itself, with what it says of the user, such as a course or a new password';
$string['privacy:metadata:cloud_external:email'] = 'The address';
$string['privacy:metadata:cloud_external:name'] = 'The name';
$string['privacy:metadata:cloud_import_batches'] = 'What is handed to a provider at once';
$string['privacy:metadata:cloud_import_batches:error_message'] = 'What the provider said, which may name addresses';
$string['privacy:metadata:cloud_jobs'] = 'Bulk sends that the sidecar took over';
$string['privacy:metadata:cloud_jobs:created_by'] = 'Who started the job';
$string['privacy:metadata:cloud_jobs:error_log'] = 'What went wrong, which may name addresses';
$string['privacy:metadata:cloud_operations'] = 'Bulk actions of which mail is expected';
$string['privacy:metadata:cloud_operations:count'] = 'For how many users';
$string['privacy:metadata:cloud_operations:first_at'] = 'When it began';
$string['privacy:metadata:cloud_operations:last_at'] = 'When it ended';
$string['privacy:metadata:cloud_operations:userid'] = 'Who did a bulk action';
$string['privacy:metadata:cloud_outbox'] = 'Recipients of reminders';
$string['privacy:metadata:cloud_outbox:course_id'] = 'The course that it is about';
$string['privacy:metadata:cloud_outbox:data'] = 'Values for placeholders of the text';
$string['privacy:metadata:cloud_outbox:email'] = 'The address, if it is not that of the user';
$string['privacy:metadata:cloud_outbox:userid'] = 'The user who is to be reminded';
$string['privacy:metadata:cloud_recipients'] = 'One mail to one address';
$string['privacy:metadata:cloud_recipients:email'] = 'The address to which it goes';
$string['privacy:metadata:cloud_recipients:email_hash'] = 'A hash over the address and the origin of the mail, by which it is never captured twice; it is kept';
$string['privacy:metadata:cloud_recipients:error_message'] = 'What the mail server said';
$string['privacy:metadata:cloud_recipients:message_id'] = 'The Message-ID of the mail';
$string['privacy:metadata:cloud_recipients:recipient_data'] = 'First name, last name, user name and subject';
$string['privacy:metadata:cloud_recipients:secret'] = 'A new user\'s password, encrypted, until the mail has been sent';
$string['privacy:metadata:cloud_recipients:sent_at'] = 'When it was sent';
$string['privacy:metadata:cloud_recipients:status'] = 'What became of the mail';
$string['privacy:metadata:cloud_recipients:userid'] = 'The user to whom the mail goes';
$string['privacy:metadata:cloud_requests'] = 'What pages ask of the sidecar';
$string['privacy:metadata:cloud_requests:answer'] = 'The answer, which may name addresses';
$string['privacy:metadata:cloud_requests:created_by'] = 'Who asked the sidecar for something';
$string['privacy:metadata:cloud_requests:params'] = 'What for, which may name addresses';
$string['privacy:metadata:cloud_smtp'] = 'The mail server of the site or the company';
$string['privacy:metadata:cloud_suppressions'] = 'Addresses that get no bulk mail';
$string['privacy:metadata:cloud_suppressions:created_at'] = 'Since when';
$string['privacy:metadata:cloud_suppressions:email'] = 'The address that gets no bulk mail; a hash of it once the person was deleted';
$string['privacy:metadata:cloud_suppressions:reason'] = 'Why';
$string['privacy:metadata:core_message'] = 'Whoever started a job gets a message when it has finished.';
