<?php
// Fills the tables of an earlier ManiReports as its own code did, and gives the people of the proof a password.
//
//     php merge_fill.php MOODLE_DIR PASSWORD

define('CLI_SCRIPT', true);
require($argv[1] . '/config.php');

$company = array_keys($DB->get_manager()->table_exists('company') ? $DB->get_records('company', null, 'id') : []) + [1, 2];
$job = fn(string $type, string $status, int $companyid, int $count, ?int $end) => $DB->insert_record(
    'manireports_cloud_jobs',
    ['type' => $type, 'status' => $status, 'email_count' => $count, 'emails_sent' => $end ? 1 : 0,
        'emails_failed' => $end ? $count - 1 : 0, 'company_id' => $companyid, 'created_at' => time() - 600, 'completed_at' => $end]
);
$recipient = fn(int $jobid, string $email, string $status) => $DB->insert_record(
    'manireports_cloud_recip',
    ['job_id' => $jobid, 'email' => $email, 'status' => $status, 'sent_at' => $status === 'sent' ? time() : null,
        'recipient_data' => json_encode(['firstname' => 'Anna', 'password' => 'Clear-password-1'])]
);
$jobs = [
    $job('user_created', 'completed', $company[0], 1, time() - 60),
    $job('license_allocated', 'partial_failure', $company[1], 2, time() - 30),
    $job('user_created', 'processing', $company[0], 1, null),
];
$recipient($jobs[0], 'anna@acme.example.test', 'sent');
$recipient($jobs[1], 'bo@globex.example.test', 'sent');
$recipient($jobs[1], 'eva@globex.example.test', 'failed');
$recipient($jobs[2], 'late@acme.example.test', 'pending');
foreach ([$company[0], $company[1]] as $companyid) {
    $DB->insert_record('manireports_cloud_conf', ['company_id' => $companyid, 'provider' => 'aws', 'enabled' => 1,
        'aws_access_key' => 'AKIAEARLIER', 'aws_secret_key' => 'earlier-secret-in-clear', 'aws_region' => 'eu-west-1',
        'sqs_queue_url' => 'https://sqs.eu-west-1.amazonaws.com/1/mail', 'ses_sender_email' => 'mail@example.test']);
}
foreach (['admin', 'boss.globex'] as $username) {
    if ($user = $DB->get_record('user', ['username' => $username, 'deleted' => 0])) {
        update_internal_user_password($user, $argv[2]);
        set_user_preference('auth_forcepasswordchange', 0, $user->id);
        unset_user_preference('auth_forcepasswordchange', $user->id);
    }
}
echo json_encode($jobs);
