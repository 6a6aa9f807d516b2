<?php
// Fills IOMAD's mail queue the way IOMAD does: new users, licences, reminders, enrolments.
//
//     php fill.php MOODLE_DIR < order.json
//
// The order: {"tag": "r1", "companies": [{"id", "shortname", "department", "courses", "licence",
// "user_create": [lead, ...], "license_allocated": [...], "course_not_started_warning": [...],
// "user_added_to_course": [...]}]}; every list holds one number for each row wanted: how many seconds
// from now its mail falls due. Prints the number of rows that were asked for.

define('CLI_SCRIPT', true);
require($argv[1] . '/config.php');
require_once($CFG->dirroot . '/local/iomad/lib/company.php');
require_once($CFG->dirroot . '/local/iomad/lib/user.php');
require_once($CFG->dirroot . '/local/email/lib/api.php');

\core\session\manager::set_user(get_admin());
$order = json_decode(stream_get_contents(STDIN), false, 512, JSON_THROW_ON_ERROR);
$asked = 0;
foreach ($order->companies as $co) {
    $SESSION->currenteditingcompany = $co->id;
    $company = new company($co->id);
    $users = [];
    foreach ($co->user_create as $n => $lead) {
        $name = "{$order->tag}-{$co->shortname}-$n";
        $id = company_user::create((object) [
            'username' => $name, 'firstname' => "Bjørn $name", 'lastname' => 'Rig',
            'email' => "$name@users.example.test", 'due' => time() + $lead, 'newpassword' => '',
            'sendnewpasswordemails' => 1, 'preference_auth_forcepasswordchange' => 1,
            'use_email_as_username' => 0, 'departmentid' => $co->department,
        ], $co->id);
        $users[] = $DB->get_record('user', ['id' => $id], '*', MUST_EXIST);
        $asked++;
    }
    foreach ($co->license_allocated as $n => $lead) {
        $seat = ['licensecourseid' => $co->courses->licensed, 'userid' => $users[$n]->id,
            'licenseid' => $co->licence, 'issuedate' => time(), 'isusing' => 0, 'timecompleted' => null];
        \block_iomad_company_admin\event\user_license_assigned::create([
            'context' => \context_course::instance($co->courses->licensed),
            'objectid' => $DB->insert_record('companylicense_users', $seat),
            'courseid' => $co->courses->licensed, 'userid' => $users[$n]->id,
            'other' => ['licenseid' => $co->licence, 'issuedate' => $seat['issuedate'],
                'duedate' => time() + $lead],
        ])->trigger();
        $asked++;
    }
    foreach ($co->course_not_started_warning as $n => $lead) {
        EmailTemplate::send('course_not_started_warning', ['course' => $co->courses->plain,
            'user' => $users[$n], 'company' => $company, 'due' => time() + $lead]);
        $asked++;
    }
    foreach ($co->user_added_to_course as $n => $lead) {
        company_user::enrol($users[$n], [$co->courses->open], $co->id);
        EmailTemplate::send('user_added_to_course', ['course' => $co->courses->open,
            'user' => $users[$n], 'due' => time() + $lead]);
        $asked++;
    }
}
echo $asked, "\n";
