<?php
// Makes the two companies of the proof through IOMAD's own code and prints what it made as JSON.
//
//     php setup.php MOODLE_DIR
//
// Only the e-mail task stays enabled: every other task would change nothing here but the time.

define('CLI_SCRIPT', true);
require($argv[1] . '/config.php');
require_once($CFG->dirroot . '/course/lib.php');
require_once($CFG->dirroot . '/local/iomad/lib/company.php');
require_once($CFG->dirroot . '/local/iomad/lib/user.php');
require_once($CFG->dirroot . '/local/email/lib/api.php');
require_once($CFG->dirroot . '/blocks/iomad_company_admin/externallib.php');

\core\session\manager::set_user(get_admin());

$made = ['companies' => []];
$wanted = [
    ['name' => 'Acme Training Ltd', 'shortname' => 'acme', 'city' => 'York', 'country' => 'GB'],
    ['name' => 'Globex & Søn', 'shortname' => 'globex', 'city' => 'Aarhus', 'country' => 'DK'],
];
foreach (block_iomad_company_admin_external::create_companies($wanted) as $info) {
    $companyid = (int) $info['id'];
    $short = $info['shortname'];
    $SESSION->currenteditingcompany = $companyid;
    $root = company::get_company_parentnode($companyid);
    company::create_department(0, $companyid, "Sales $short", "sales$short", $root->id);
    $sales = $DB->get_record('department', ['company' => $companyid, 'parent' => $root->id], '*', MUST_EXIST);

    // Two company managers where it matters: one above the users' department, one inside it, and a
    // department manager, who by IOMAD's rules gets no copy.
    foreach ([['boss', $root->id, 1], ['lead', $sales->id, $companyid % 2 ? 2 : 1]] as [$name, $where, $type]) {
        $id = company_user::create((object) [
            'username' => "$name.$short", 'firstname' => ucfirst($name), 'lastname' => ucfirst($short),
            'email' => "$name@$short.example.test", 'newpassword' => 'Rig-pass-1', 'due' => time(),
            'sendnewpasswordemails' => 0, 'preference_auth_forcepasswordchange' => 0,
            'use_email_as_username' => 0, 'departmentid' => $where,
        ], $companyid);
        company::upsert_company_user($id, $companyid, $where, $type, false, false, true);
    }

    $courses = [];
    foreach (['licensed' => 'GDPR Essentials', 'plain' => 'Fire Safety', 'open' => 'First Aid'] as $kind => $name) {
        $course = create_course((object) [
            'fullname' => "$name $short", 'shortname' => "$kind-$short", 'category' => $DB->get_field(
                'company', 'category', ['id' => $companyid], MUST_EXIST),
            'startdate' => time(), 'enablecompletion' => 1,
        ]);
        (new company($companyid))->add_course($course, $root->id, true, $kind === 'licensed');
        $courses[$kind] = (int) $course->id;
    }
    $licence = $DB->insert_record('companylicense', (object) [
        'name' => "GDPR $short", 'allocation' => 1000000, 'humanallocation' => 1000000,
        'validlength' => 365, 'startdate' => time() - DAYSECS, 'expirydate' => time() + YEARSECS,
        'companyid' => $companyid,
    ]);
    $DB->insert_record('companylicense_courses', ['licenseid' => $licence, 'courseid' => $courses['licensed']]);
    $made['companies'][] = ['id' => $companyid, 'shortname' => $short, 'department' => (int) $sales->id,
        'courses' => $courses, 'licence' => (int) $licence];
}

// Globex has its licence mail copied to two more people and gives another sender.
$globex = $made['companies'][1];
$DB->set_field('email_template', 'emailtoother', 'hr@globex.example.test',
    ['companyid' => $globex['id'], 'name' => 'license_allocated']);
$DB->set_field('email_template', 'emailccother', 'audit@globex.example.test',
    ['companyid' => $globex['id'], 'name' => 'license_allocated']);
$DB->set_field('email_template', 'emailreplytoother', 'help@globex.example.test',
    ['companyid' => $globex['id'], 'name' => 'license_allocated']);
// Nobody is copied on Acme's reminders.
$DB->set_field('email_template', 'disabledmanager', 1,
    ['companyid' => $made['companies'][0]['id'], 'name' => 'course_not_started_warning']);

$DB->delete_records('email');
$DB->set_field('task_scheduled', 'disabled', 1);
foreach (['disabled' => 0, 'minute' => '*', 'hour' => '*', 'customised' => 1] as $field => $value) {
    $DB->set_field('task_scheduled', $field, $value, ['classname' => '\local_email\task\cron_task']);
}
$DB->delete_records('task_adhoc');
echo json_encode($made), "\n";
